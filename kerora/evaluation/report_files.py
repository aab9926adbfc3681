"""Writes the files of a report: atomic files, CSV for spreadsheets, JSON without infinities."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kerora.errors import RunError
from kerora.runfolder import write_bytes, write_text

PAGE_ENDINGS = (".html", ".htm")
# every page of Kerora has this tag: no other file is replaced
_OWN_PAGE = b'<meta name="generator" content="Kerora'


def write_files(folder: Path, contents: Mapping[str, str | bytes]) -> dict[str, Path]:
    """Write files into a folder. Return their paths by name."""
    for name, content in contents.items():
        if isinstance(content, bytes):
            write_bytes(folder / name, content)
        else:
            write_text(folder / name, content)
    return {name: folder / name for name in contents}


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV. Every text is quoted, so that spreadsheets do not split or trim it."""
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def check_output(output: Path) -> None:
    """Check that a page can be written to a path.

    Raises:
        RunError: the path is not that of an HTML file, or the page would replace a file that is not a report.
    """
    if output.suffix.lower() not in PAGE_ENDINGS:
        raise RunError(f"--output must name an .html file. Received: {output}")
    if output.is_dir():
        raise RunError(f"--output {output} is a folder. Give the path of an .html file.")
    if output.exists():
        try:
            with output.open("rb") as stream:
                # the tag stands before the title and all other values, so a name in the page cannot imitate it
                own = _OWN_PAGE in stream.read(1000)
        except OSError as error:
            raise RunError(f"Cannot read {output}: {error.strerror}. Choose another --output.") from error
        if not own:
            raise RunError(f"{output} exists and is not a Kerora report. It is not replaced. Choose another --output.")


def finite(value: Any) -> Any:
    """Return nested values. Numbers that are not finite become None, because JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
