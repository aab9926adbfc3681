"""Tables and texts for the terminal, as rich renderables. The command line prints them."""

import copy
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from kerora.evaluation import wording
from kerora.evaluation.comparison import Cost
from kerora.evaluation.results import RunResults
from kerora.evaluation.verdict import RunBaseline, baseline_line

LONGEST_NAME = 40
# cells between two columns, and the least width of a column of names, which may be divided
GAP, SHORTEST_FIRST = 3, 20
# the blank between a number and its unit
_UNIT = re.compile(r"(?<=\d) (?=%|[kMG]?B\b|m?s\b|min\b|h\b|tokens/s)")
_CONTROL = re.compile(r"\s+")
_DIRECTIONS = {"better": "green", "worse": "red", "": ""}


def before_after_table(results: RunResults) -> Table | None:
    """Return the metrics before and after training by split, and those of the baseline if there is one.

    None if the run has no metrics before training.
    """
    changes = wording.changes(results)
    if not changes:
        return None
    with_baseline = ["baseline"] * bool(results.baseline)
    table = plain_table("split", "metric", "before", "after", "difference", *with_baseline)
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
                *[wording.decimal(row.baseline)] * len(with_baseline),
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
    # Cc: control, Cf: direction and other invisible characters, Cs: surrogates, which UTF-8 refuses
    return "".join(char for char in flat if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


class NumberTable(Table):
    """A table that never divides a word or a number.

    On a narrow terminal, cells wrap between words. If that is not enough, each row becomes a few lines of its own, with
    the headings beside the values. Names in the first column may be divided there.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, or its rows one below another."""
        # by itself, because the title of a narrow table would wrap
        if self.title:
            yield Text(str(self.title), style="italic")
        widths = self._widths(console, options)
        if widths is None:
            yield from self._stacked(console)
            return
        # a copy, because the same table may be printed again at another width
        fitted = copy.copy(self)
        fitted.title = None
        fitted.columns = [copy.copy(column) for column in self.columns]
        for column, width in zip(fitted.columns, widths, strict=True):
            column.width = width
        yield from Table.__rich_console__(fitted, console, options)

    def _widths(self, console: Console, options: ConsoleOptions) -> list[int] | None:
        """Return the widths of the columns. None if not even the longest words fit side by side."""
        # so wide that no cell wraps while it is measured
        wide = options.update_width(10_000)
        sizes = [self._size(console, wide, column) for column in self.columns]
        # names fold, so a long name does not force the stacked form
        if sizes and self.columns[0].overflow == "fold":
            sizes[0] = Measurement(min(sizes[0].minimum, SHORTEST_FIRST), sizes[0].maximum)
        room = options.max_width - GAP * (len(sizes) - 1)
        slack = [size.maximum - size.minimum for size in sizes]
        if sum(size.minimum for size in sizes) > room:
            return None
        excess = max(0, sum(size.maximum for size in sizes) - room)
        widths = [size.maximum for size in sizes]
        # the columns with most to give become narrower
        while excess:
            # among equal columns the last one, so that names on the left stay whole
            place = max(range(len(slack)), key=lambda at: (slack[at], at))
            slack[place] -= 1
            widths[place] -= 1
            excess -= 1
        return widths

    def _size(self, console: Console, options: ConsoleOptions, column: Column) -> Measurement:
        parts = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
        # a cell of numbers, such as "11.8 %", stays on one line
        whole = [part.maximum for part in parts[1:]] if column.justify == "right" else []
        return Measurement(max([part.minimum for part in parts] + whole), max(part.maximum for part in parts))

    def _stacked(self, console: Console) -> Iterator[RenderableType]:
        heads = [_plain(console, column.header) for column in self.columns]
        for row in zip(*(column.cells for column in self.columns), strict=True):
            first, *others = (_plain(console, cell) for cell in row)
            facts = [
                f"{head} {' '.join(value.split())}".strip()
                for head, value in zip(heads[1:], others, strict=True)
                if value.strip()
            ]
            yield Text(first or " ", style="bold")
            if facts:
                facts[0] = f"  {facts[0]}"
            yield Facts(facts, gap="  ", indent="  ")


def _plain(console: Console, cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else console.render_str(str(cell)).plain


def plain_table(
    first: str, *others: str, title: str | None = None, justify: Literal["left", "center", "right"] = "right"
) -> NumberTable:
    """Return an empty table. The columns behind the first are justified alike, by default to the right for numbers."""
    table = NumberTable(title=title, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify=justify, overflow="fold")
    return table


def cost_table(costs: Iterable[Cost]) -> NumberTable:
    """Return weights, time and memory of the training of each run, one row per run."""
    table = plain_table("run", "method", "trained weights", "training", "epochs", "memory", "tokens/s")
    table.columns[1].justify = "left"
    for cost in costs:
        memory = wording.NOTHING if cost.memory is None else f"{cost.memory:,.0f} MB"
        numbers = [wording.whole(cost.trainable), wording.duration(cost.seconds), str(cost.epochs), memory]
        # Text, because rich reads brackets in a plain string as markup
        table.add_row(Text(visible(cost.name)), cost.method, *numbers, wording.whole(cost.tokens))
    return table


def baseline_table(baselines: Sequence[RunBaseline]) -> NumberTable | None:
    """Return the runs beside their baselines, one row per run and split. None if no run has a baseline."""
    if not baselines:
        return None
    table = plain_table("run", "split", "metric", "this run", "baseline", "verdict")
    for column in (1, 2, 5):
        table.columns[column].justify = "left"
    for row in baselines:
        values = wording.decimal(row.own), wording.decimal(row.value)
        table.add_row(Text(visible(row.run)), visible(row.split), row.label, *values, row.verdict)
    return table


def verdict_text(results: RunResults, split: str | None = None) -> Text | None:
    """Return the sentence on the baseline. None if there is none."""
    line = baseline_line(results, split)
    return None if line is None else Text(visible(line))


class Facts:
    """Short texts such as ``loss 0.5000`` side by side. On a narrow terminal, a line ends between two of them.

    Args:
        facts: the texts.
        gap: what separates two of them.
        indent: indentation of all lines but the first.
    """

    def __init__(self, facts: Iterable[str | Text], gap: str = "   ", indent: str = "") -> None:
        self.facts = [Text(fact) if isinstance(fact, str) else fact for fact in facts]
        self.gap = gap
        self.indent = indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines. A fact that is longer than a line wraps between words."""
        # rich must not wrap the line again: the lines end between facts
        line = Text(no_wrap=True, overflow="ignore")
        for fact in self.facts:
            if not line:
                line.append_text(fact)
            elif line.cell_len + len(self.gap) + fact.cell_len <= options.max_width:
                line.append(self.gap).append_text(fact)
            else:
                yield _fitted(line, options.max_width)
                line = Text(self.indent, no_wrap=True, overflow="ignore").append_text(fact)
        yield _fitted(line, options.max_width)


def _fitted(line: Text, width: int) -> Text:
    return line if line.cell_len <= width else Text(wrapped(line.plain, width), no_wrap=True, overflow="ignore")


def wrapped(text: str, width: int) -> str:
    """Return text with lines of at most `width` characters. Paths, and numbers with their units, are not divided."""
    # a no-break space holds a number and its unit together; textwrap does not break there
    held = _UNIT.sub("\N{NO-BREAK SPACE}", text)
    lines = [
        # paths and options have hyphens and can be longer than a line
        textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) or [""]
        for line in held.split("\n")
    ]
    return "\n".join(line for part in lines for line in part).replace("\N{NO-BREAK SPACE}", " ")


def say(console: Console, text: str) -> None:
    """Print lines of plain text. On a terminal they wrap between words. Elsewhere they stay whole."""
    shown = wrapped(text, console.width) if console.is_terminal else text
    console.print(shown, highlight=False, markup=False, emoji=False, soft_wrap=True)


def name_text(name: str) -> Text:
    """Return the name of a class for a table cell. A long name is cut."""
    return Text(cut(visible(name), LONGEST_NAME))


def cut(text: str, width: int) -> str:
    """Return text that takes at most `width` cells of the terminal. A wide character takes two."""
    # one cell for the mark of the cut
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
