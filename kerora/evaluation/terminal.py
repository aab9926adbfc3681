"""Tables of metrics for the terminal, as rich renderables: built here, printed by the command line."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.table import Table
from rich.text import Text

from kerora.evaluation import wording
from kerora.evaluation.comparison import Comparison, LanguageComparison
from kerora.evaluation.metrics import row_percent
from kerora.evaluation.results import RunResults, SplitResults
from kerora.evaluation.samples import Sample

MOST_CLASSES = 40
LONGEST_NAME = 24
SHORTEST_NAME = 10
COLDEST_SHADED = 5.0
_CONTROL = re.compile(r"\s+")
_COLD, _HOT = np.array([28, 46, 74]), np.array([110, 190, 245])
_CHANGED = ("accuracy", "macro_f1", "loss", "perplexity", "bits_per_byte")
_DIRECTIONS = {"better": "green", "worse": "red", "": ""}


class ConfusionMatrix:
    """A confusion matrix that fits the terminal it is printed on.

    Rows are true classes. Columns carry the class names where these fit, else the classes' numbers;
    cells hold counts and row per cent where both fit, else counts; a matrix that is still too wide
    is printed in blocks of columns. With colours on, the background shows the row per cent.
    """

    def __init__(self, split: SplitResults) -> None:
        """Take the matrix and the class names of `split`."""
        self.matrix = split.matrix
        self.names = [visible(name) for name in split.classes]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the matrix."""
        if len(self.names) > MOST_CLASSES:
            yield Text(f"{len(self.names)} classes: too many for a matrix here, see confusion_matrix.csv.", style="dim")
            return
        layout = self._layout(options.max_width)
        what = "rows, % of the true class" if layout.percent else "rows"
        yield Text(f"Confusion matrix ({what}): true down, predicted across", style="dim")
        for block in _blocks(layout.widths, options.max_width - layout.label):
            yield self._head(block, layout)
            for row in range(len(self.names)):
                yield self._line(row, block, layout)

    def _layout(self, width: int) -> "_Layout":
        """Choose the richest layout that fits, else short names, else the plainest in blocks."""
        name = min(max(map(cell_len, self.names)), LONGEST_NAME)
        numbers = [str(place + 1) for place in range(len(self.names))]
        for percent, heads in ((True, self.names), (True, numbers), (False, numbers)):
            cells = self._cells(percent)
            widths = [max(cell_len(head), *(len(row[at]) for row in cells)) + 2 for at, head in enumerate(heads)]
            label = name if heads is self.names else name + 4
            if label + sum(widths) <= width:
                return _Layout(percent, heads, cells, widths, label)
        narrow = [size - 1 for size in widths]
        short = width - sum(narrow)
        if short >= SHORTEST_NAME + 4:
            return _Layout(False, numbers, cells, narrow, min(label, short))
        return _Layout(False, numbers, cells, widths, label)

    def _cells(self, percent: bool) -> list[list[str]]:
        shares = row_percent(self.matrix)
        return [
            [f"{value} {share:>3.0f}%" if percent else str(value) for value, share in zip(*row, strict=True)]
            for row in zip(self.matrix, shares, strict=True)
        ]

    def _head(self, block: range, layout: "_Layout") -> Text:
        text = Text(" " * layout.label, no_wrap=True)
        for column in block:
            text.append(_right(layout.heads[column], layout.widths[column]), style="bold")
        return text

    def _line(self, row: int, block: range, layout: "_Layout") -> Text:
        start = "" if layout.heads is self.names else f"{row + 1:>3} "
        text = Text(no_wrap=True)
        text.append(set_cell_size(start + _cut(self.names[row], layout.label - len(start)), layout.label), style="bold")
        shares = row_percent(self.matrix)[row]
        for column in block:
            text.append(" ")
            text.append(
                _right(layout.cells[row][column], layout.widths[column] - 1), style=_heat(float(shares[column]))
            )
        return text


@dataclass(frozen=True)
class _Layout:
    percent: bool
    heads: list[str]
    cells: list[list[str]]
    widths: list[int]
    label: int


def _blocks(widths: Sequence[int], room: int) -> Iterator[range]:
    """Yield ranges of columns that fit into `room`, about equally many in each."""
    count = len(widths)
    most = max(1, room // max(widths))
    size = count if sum(widths) <= room else -(-count // -(-count // most))
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _heat(share: float) -> Style | None:
    if share < COLDEST_SHADED:
        return None
    red, green, blue = (_COLD + (_HOT - _COLD) * share / 100).round().astype(int).tolist()
    ink = "black" if share > 45 else "white"
    return Style(
        color=Color.parse("#000000" if ink == "black" else "#ffffff"), bgcolor=Color.from_rgb(red, green, blue)
    )


def class_table(split: SplitResults) -> Table:
    """Return precision, recall, F1 and support of each class with their averages."""
    table = _table("class", "precision", "recall", "F1", "support")
    for name, values in split.metrics["per_class"].items():
        numbers = [wording.decimal(values[key]) for key in ("precision", "recall", "f1")]
        table.add_row(_name(name), *numbers, wording.whole(values["support"]))
    table.add_section()
    for average in ("macro", "weighted"):
        numbers = [wording.decimal(split.metrics[f"{average}_{key}"]) for key in ("precision", "recall", "f1")]
        table.add_row(f"{average} average", *numbers, wording.whole(len(split)), style="dim")
    return table


def language_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a language model's metrics by split."""
    table = _table("split", "perplexity", "bits per byte", "loss", "tokens")
    for split, values in metrics.items():
        numbers = [wording.decimal(values.get(key)) for key in ("perplexity", "bits_per_byte", "loss")]
        table.add_row(visible(split), *numbers, wording.whole(values.get("tokens")))
    return table


def samples_text(samples: Sequence[Sample]) -> Text:
    """Return prompts with their continuations before and after training."""
    text = Text()
    for sample in samples:
        text.append(f"{_cut(visible(sample.prompt), 160)}\n", style="bold")
        for name, words in (("before", sample.before), ("after", sample.after)):
            if words is not None:
                text.append(f"  {name:<7}", style="dim").append(f"{_cut(visible(words), 240)}\n")
    return text


def headline(split: SplitResults) -> Text:
    """Return the metrics that matter most: two with their intervals, and a line of others."""
    text = Text()
    for key in ("accuracy", "macro_f1"):
        low, high = split.intervals[key]
        text.append(f"{wording.LABELS[key]:<9}").append(wording.decimal(split.metrics[key]), style="bold")
        text.append(f"  95 % interval {low:.3f} to {high:.3f}\n", style="dim")
    rest = (f"{wording.LABELS[key]} {wording.decimal(split.metrics[key])}" for key in ("mcc", "roc_auc", "ece", "loss"))
    return text.append("   ".join(rest))


def before_after_table(results: RunResults) -> Table | None:
    """Return accuracy, macro F1 and loss before and after training by split; None where nothing was recorded."""
    changes = wording.changes(results)
    if not changes:
        return None
    table = _table("split", "metric", "before", "after", "difference")
    table.columns[1].justify = "left"
    for split, rows in changes.items():
        for row in (row for row in rows if row.key in _CHANGED):
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


def confusions_table(split: SplitResults, count: int = 5) -> Table | None:
    """Return the most frequent mistakes; None where there are none or only two classes."""
    found = wording.most_confused(split, count) if len(split.classes) > 2 else []
    if not found:
        return None
    table = _table("true", "predicted instead", "rows", "of the true class")
    table.columns[1].justify = "left"
    for item in found:
        names = _name(split.classes[item.true]), _name(split.classes[item.predicted])
        table.add_row(*names, wording.whole(item.rows), f"{item.percent:.1f} %")
    return table


def comparison_tables(comparison: Comparison | LanguageComparison) -> list[Table]:
    """Return the runs side by side, numbered, and for classifiers McNemar's test for each pair of numbers."""
    if isinstance(comparison, LanguageComparison):
        return [_language_models_table(comparison)]
    runs = _table("", "run", "split", "rows", "accuracy", "macro F1", "training")
    for column in (1, 2):
        runs.columns[column].justify = "left"
    for number, (name, run, split) in enumerate(
        zip(comparison.names, comparison.runs, comparison.splits, strict=True), start=1
    ):
        cells = [
            f"{split.metrics[key]:.3f}\n{split.intervals[key][0]:.3f}-{split.intervals[key][1]:.3f}"
            for key in ("accuracy", "macro_f1")
        ]
        time = wording.duration(run.manifest.get("training_seconds"))
        runs.add_row(str(number), Text(visible(name)), visible(split.name), wording.whole(len(split)), *cells, time)
    return [runs, _pairs_table(comparison)]


def _language_models_table(comparison: LanguageComparison) -> Table:
    table = _table("", "run", "split", "perplexity", "before", "bits per byte", "loss", "training")
    for column in (1, 2):
        table.columns[column].justify = "left"
    for number, name, run, split in comparison.rows():
        after = run.after[split]
        table.add_row(
            str(number),
            Text(visible(name)),
            visible(split),
            wording.decimal(after.get("perplexity")),
            Text(wording.decimal(run.before.get(split, {}).get("perplexity")), style="dim"),
            wording.decimal(after.get("bits_per_byte")),
            wording.decimal(after.get("loss")),
            wording.duration(run.manifest.get("training_seconds")),
        )
    return table


def _pairs_table(comparison: Comparison) -> Table:
    table = _table("runs", "shared rows", "only 1st right", "only 2nd right", "p", "verdict")
    table.columns[-1].justify = "left"
    numbers = {name: number for number, name in enumerate(comparison.names, start=1)}
    for pair in comparison.pairs:
        test = pair.test
        cells = [wording.NOTHING] * 3
        if test is not None:
            cells = [wording.whole(test.b), wording.whole(test.c), wording.p_value(test.p_value)]
        verdict = f"run {numbers[pair.winner]} is better" if pair.winner else pair.verdict
        names = f"{numbers[pair.first]}, {numbers[pair.second]}"
        table.add_row(names, wording.whole(pair.shared), *cells, verdict)
    return table


def visible(text: str) -> str:
    """Return text on one line without control or direction characters, safe to print."""
    flat = _CONTROL.sub(" ", text).strip()
    return "".join(char for char in flat if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _name(name: str) -> Text:
    return Text(_cut(visible(name), LONGEST_NAME))


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text
