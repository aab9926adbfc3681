"""Tables and texts for the terminal, as rich renderables. The command line prints them."""

import re
import unicodedata

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from kerora.evaluation import wording
from kerora.evaluation.results import RunResults

LONGEST_NAME = 24
_CONTROL = re.compile(r"\s+")
_DIRECTIONS = {"better": "green", "worse": "red", "": ""}


def before_after_table(results: RunResults) -> Table | None:
    """Return the metrics before and after training by split. None if the run has no metrics before training."""
    changes = wording.changes(results)
    if not changes:
        return None
    table = plain_table("split", "metric", "before", "after", "difference")
    table.columns[1].justify = "left"
    for split, rows in changes.items():
        for row in (row for row in rows if row.key in wording.CHANGED):
            difference = Text(wording.signed(row.difference), style=_DIRECTIONS[row.direction])
            first = row.key == rows[0].key
            table.add_row(
                visible(split) if first else "",
                row.label,
                wording.decimal(row.before),
                wording.decimal(row.after),
                difference,
            )
        table.add_section()
    return table


def training_time(results: RunResults) -> str | None:
    """Return a sentence with the training time. None if the time was not recorded."""
    seconds = results.manifest.get("training_seconds")
    return f"Training took {wording.duration(seconds)}." if wording.number(seconds) is not None else None


def visible(text: str) -> str:
    """Return text on one line without control and direction characters, so that it is safe to print."""
    # control characters could move the cursor, and direction characters reorder the line
    flat = _CONTROL.sub(" ", text).strip()
    return "".join(char for char in flat if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def plain_table(first: str, *others: str) -> Table:
    """Return an empty table. All columns but the first are right-justified for numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def name_text(name: str) -> Text:
    """Return the name of a class for a table cell. A long name is cut."""
    return Text(cut(visible(name), LONGEST_NAME))


def cut(text: str, width: int) -> str:
    """Return text that takes at most `width` cells of the terminal. A wide character takes two."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
