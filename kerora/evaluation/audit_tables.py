"""Tables and texts that `kerora data show` prints, whatever the task."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerora.data.audit import Audit
from kerora.evaluation.terminal import visible


def length_table(result: Audit) -> Table:
    """Return the lengths of each split, and the share that is too long."""
    names = list(next(iter(result.splits.values())).lengths)
    table = plain_table(f"Length in {result.unit}", "split", *names, f"over {result.max_length}")
    for split, part in result.splits.items():
        table.add_row(split, *(str(part.lengths[name]) for name in names), percent(part.truncated))
    return table


def duplicate_table(result: Audit, labelled: bool = True) -> Table:
    """Return how many texts of each split occur again, there or in train."""
    table = plain_table(
        "Same texts", "split", "duplicates", *(["with other labels"] if labelled else []), "also in train"
    )
    for split, part in result.splits.items():
        leak = result.leakage.get(split)
        shared = f"{leak.count} ({percent(leak.share)})" if leak else "-"
        table.add_row(split, str(part.duplicates), *([str(part.conflicts)] if labelled else []), shared)
    return table


def print_concerns(console: Console, lines: Sequence[str]) -> None:
    """Print the findings that a training warns of, one line each."""
    for line in lines:
        console.print(f"[bold]Note:[/bold] {escaped(line)}", soft_wrap=True)


def plain_table(title: str, first: str, *others: str, justify: Any = "right") -> Table:
    """Return an empty table; the columns behind the first are justified alike."""
    table = Table(title=title, title_justify="left", box=SIMPLE)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify=justify)
    return table


def escaped(text: str) -> str:
    """Return text as a terminal may show it: line by line without control characters, and not read as markup."""
    return escape("\n".join(visible(line) for line in text.split("\n")))


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{share:.1%}"


def cut(text: str, length: int = 100) -> str:
    """Return text on one line, without what cannot be printed, at most so long."""
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
