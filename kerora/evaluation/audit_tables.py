"""Tables and texts of `kerora data show` that all tasks share."""

from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from kerora.data.audit import Audit


def length_table(result: Audit) -> Table:
    """Return a table of the lengths in each split, and of the share of rows that are too long."""
    names = list(next(iter(result.splits.values())).lengths)
    table = plain_table(f"Length in {result.unit}", "split", *names, f"over {result.max_length}")
    for split, part in result.splits.items():
        table.add_row(split, *(str(part.lengths[name]) for name in names), percent(part.truncated))
    return table


def duplicate_table(result: Audit, labelled: bool = True) -> Table:
    """Return a table of the texts of each split that occur again in the split or in train."""
    table = plain_table(
        "Same texts", "split", "duplicates", *(["with other labels"] if labelled else []), "also in train"
    )
    for split, part in result.splits.items():
        leak = result.leakage.get(split)
        shared = f"{leak.count} ({percent(leak.share)})" if leak else "-"
        table.add_row(split, str(part.duplicates), *([str(part.conflicts)] if labelled else []), shared)
    return table


def plain_table(title: str, first: str, *others: str, justify: Any = "right") -> Table:
    """Return an empty table. `justify` applies to all columns but the first."""
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify=justify)
    return table


def escaped(text: str) -> str:
    """Return text in which rich finds no markup."""
    return escape(text)


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{share:.1%}"


def cut(text: str, length: int = 100) -> str:
    """Return text on one line, without characters that cannot be printed, with at most `length` characters."""
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
