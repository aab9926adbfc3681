"""Tables and texts that `kerora data show` prints, whatever the task."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kerora.data.audit import Audit
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
