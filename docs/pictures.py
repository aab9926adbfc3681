"""Makes the pictures of README and docs again, from a real fit.

    python docs/pictures.py fit WORKING_FOLDER             writes docs/images/fit.svg, takes a minute
    python docs/pictures.py page WORKING_FOLDER            writes docs/images/report.png

`fit` runs `kerora fit --run tickets` and `kerora report` in the folder and keeps what they print. `page` opens that
report in Chromium without a screen.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

IMAGES = Path(__file__).resolve().parent / "images"
COLUMNS = 106
PAGE = (1100, 1470)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LIMIT_SECONDS = 120


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
    """Open an HTML file in Chromium without a screen and write the top of it as PNG."""
    from PIL import Image

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"No browser was found. Install one of {', '.join(BROWSERS)}.")
    size = f"--window-size={PAGE[0]},{PAGE[1]}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size, f"--screenshot={target}"]
    subprocess.run([browser, *flags, page.resolve().as_uri()], check=True, timeout=LIMIT_SECONDS)
    # a palette of 256 colours halves the file
    Image.open(target).convert("RGB").quantize(256).save(target, optimize=True)


if __name__ == "__main__":
    action, place = sys.argv[1], Path(sys.argv[2])
    if action == "fit":
        picture_of_a_fit(place)
    else:
        picture_of_a_page(place / "runs/tickets/report/report.html", IMAGES / "report.png")
