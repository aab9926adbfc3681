"""Makes the pictures of README and docs again, from a real fit.

    python docs/pictures.py fit WORKING_FOLDER             writes docs/images/fit.svg, takes a minute
    python docs/pictures.py page WORKING_FOLDER            writes docs/images/report.png

`fit` runs `kerora fit --run tickets` and `kerora report` in the folder and keeps what they print. `page`
opens the report in a browser without a screen; it needs PySide6 (`pip install PySide6`), so it can run in
an environment of its own.
"""

import os
import re
import sys
from pathlib import Path
from unittest import mock

IMAGES = Path(__file__).resolve().parent / "images"
COLUMNS = 106
PAGE = (1100, 1470)
# what a page needs to draw itself, in milliseconds
SETTLE, LIMIT = 2500, 60_000


def picture_of_a_fit(folder: Path) -> None:
    """Run a fit in `folder` and write what it prints as SVG."""
    import rich.console

    from kerora.cli.main import run
    from kerora.training import progress

    os.chdir(folder)
    options = {"record": True, "width": COLUMNS, "file": sys.stderr, "markup": False, "emoji": False}
    console = rich.console.Console(**options)  # type: ignore[arg-type]
    console.print("$ kerora fit --run tickets", highlight=False)
    opened = mock.Mock(return_value=console)
    # every part of the command prints on the same recorded console; lines between two epochs are left out
    with mock.patch.object(rich.console, "Console", opened), mock.patch.object(progress, "Console", opened):
        with mock.patch.object(progress, "LINE_SECONDS", float("inf")):
            code = run(["fit", "--run", "tickets", "--force"])
    assert code == 0
    svg = console.export_svg(title="kerora fit")
    # the fonts of rich's frame come from the network; the reader's own monospaced font will do
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (IMAGES / "fit.svg").write_text(svg.replace("Fira Code, monospace", "monospace"), encoding="utf-8")
    run(["report", "runs/tickets"])


def picture_of_a_page(page: Path, target: Path) -> None:
    """Open an HTML file without a screen and write the top of it as PNG."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QTWEBENGINE_CHROMIUM_FLAGS", "--no-sandbox --disable-gpu")
    from PySide6.QtCore import Qt, QTimer, QUrl
    from PySide6.QtGui import QImage
    from PySide6.QtWebEngineCore import QWebEngineSettings
    from PySide6.QtWebEngineWidgets import QWebEngineView
    from PySide6.QtWidgets import QApplication

    application = QApplication([])
    view = QWebEngineView()
    view.settings().setAttribute(QWebEngineSettings.WebAttribute.ShowScrollBars, False)
    view.resize(*PAGE)
    view.show()

    def save() -> None:
        # a palette of 256 colours halves the file
        image = view.grab().toImage()
        image.convertToFormat(QImage.Format.Format_Indexed8, Qt.ImageConversionFlag.ThresholdDither).save(str(target))
        application.quit()

    view.loadFinished.connect(lambda _: QTimer.singleShot(SETTLE, save))
    view.load(QUrl.fromLocalFile(str(page.resolve())))
    QTimer.singleShot(LIMIT, application.quit)
    application.exec()


if __name__ == "__main__":
    action, place = sys.argv[1], Path(sys.argv[2])
    if action == "fit":
        picture_of_a_fit(place)
    else:
        picture_of_a_page(place / "runs/tickets/report/report.html", IMAGES / "report.png")
