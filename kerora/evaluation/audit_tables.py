"""Tables and texts that `kerora data show` prints, whatever the task."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerora.data.audit import Audit
from kerora.data.bad_rows import by_reason
from kerora.data.rows import Dataset
from kerora.evaluation.terminal import cut, plain_table, visible


def length_table(result: Audit, cut: bool = True) -> Table:
    """Return the lengths of each split, and the share that is too long.

    Args:
        result: the audit.
        cut: whether rows that are too long lose tokens, so that the number of these rows and the share of the lost
            tokens are shown. Default: True.
    """
    names = list(next(iter(result.splits.values())).lengths)
    lost = [f"{result.unit} lost"] if cut else []
    table = plain_table("split", *names, f"over {result.max_length}", *lost, title=f"Length in {result.unit}")
    for split, part in result.splits.items():
        rows = f"{round(part.truncated * part.rows):,} ({percent(part.truncated)})" if cut else percent(part.truncated)
        share = [f"{part.lost:.2%}"] if cut else []
        table.add_row(split, *(str(part.lengths[name]) for name in names), rows, *share)
    return table


def duplicate_table(result: Audit, labelled: bool = True) -> Table:
    """Return how many texts of each split occur again, there or in train."""
    conflicts = ["with other labels"] if labelled else []
    table = plain_table("split", "duplicates", *conflicts, "also in train", title="Same texts")
    for split, part in result.splits.items():
        leak = result.leakage.get(split)
        shared = f"{leak.count} ({percent(leak.share)})" if leak else "-"
        table.add_row(split, str(part.duplicates), *([str(part.conflicts)] if labelled else []), shared)
    return table


def print_heading(console: Console, dataset: Dataset[Any], what: str) -> None:
    """Print the name of the data, what it holds, and how many bad rows were dropped."""
    console.print(f"[bold]{escaped(dataset.name)}[/bold]: {what}")
    for split, count in dataset.skipped.items():
        console.print(f"{split}: {count} bad rows were dropped ({escaped(by_reason(dataset.reasons.get(split, {})))})")


def print_tables(console: Console, tables: Iterable[Table]) -> None:
    """Print tables, each after an empty line."""
    for table in tables:
        console.print()
        console.print(table)


def print_unit(console: Console, result: Audit) -> None:
    """Say how to measure lengths in tokens, if they are in words."""
    if result.unit == "words":
        console.print(
            "Lengths are in words. --preset NAME counts the tokens of that model. A text has more tokens than words."
        )


def print_leaks(console: Console, result: Audit) -> None:
    """Print examples of rows that are also training rows."""
    for split, leak in result.leakage.items():
        for here, there, text in leak.examples:
            console.print(
                f"{split} row {escaped(here)} = train row {escaped(there)}: {escaped(short(text))}", soft_wrap=True
            )


def shares_table(title: str, column: str, last: str, result: Audit, names: Sequence[str]) -> Table:
    """Return the rows with each label in each split, with their share.

    Args:
        title: title of the table.
        column: heading of the labels.
        last: name of the line with all rows.
        result: the audit.
        names: the labels.
    """
    table = plain_table(column, *result.splits, title=title)
    for name in names:
        counts = [(split.labels[name], split.rows) for split in result.splits.values()]
        # a split may have no rows
        table.add_row(escaped(name), *(f"{count} ({percent(count / max(1, total))})" for count, total in counts))
    table.add_row(last, *(str(split.rows) for split in result.splits.values()), style="bold")
    return table


def print_concerns(console: Console, lines: Sequence[str]) -> None:
    """Print the findings that a training warns of, one line each."""
    for line in lines:
        console.print(f"[bold]Note:[/bold] {escaped(line)}", soft_wrap=True)


def escaped(text: str) -> str:
    """Return text as a terminal may show it: line by line without control characters, and not read as markup."""
    # line by line, because `visible` would join the lines
    return escape("\n".join(visible(line) for line in text.split("\n")))


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f"{share:.1%}"


def short(text: str, width: int = 100) -> str:
    """Return text on one line, without what cannot be printed, in at most `width` cells of the terminal."""
    return cut(visible(text), width)
