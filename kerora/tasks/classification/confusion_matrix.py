"""The confusion matrix for a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from kerora.evaluation.metrics import row_percent
from kerora.evaluation.terminal import LONGEST_NAME, cut, visible
from kerora.tasks.classification.results import SplitResults

MOST_CLASSES = 40
SHORTEST_NAME = 10
# row per cent below which a cell has the background of the terminal
COLDEST_SHADED = 5.0
# red, green and blue at 0 and at 100 per cent
_COLD, _HOT = np.array([28, 46, 74]), np.array([110, 190, 245])


class ConfusionMatrix:
    """A confusion matrix that fits the width of the terminal.

    Rows are true classes. If the class names do not fit above the columns, the class numbers stand there. If counts
    and row per cent do not both fit into the cells, the cells hold counts. A matrix that is still too wide is printed
    in blocks of columns. On a terminal with colours, the background shows the row per cent.
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
        """Choose the layout that shows most and fits: else short names, else counts in blocks of columns."""
        name = min(max(map(cell_len, self.names)), LONGEST_NAME)
        numbers = [str(place + 1) for place in range(len(self.names))]
        # from the layout that shows most to the one that needs least
        for percent, heads in ((True, self.names), (True, numbers), (False, numbers)):
            cells = self._cells(percent)
            # two blanks in front of each column
            widths = [max(cell_len(head), *(len(row[at]) for row in cells)) + 2 for at, head in enumerate(heads)]
            # three digits and a blank stand before the name if the columns have numbers
            label = name if heads is self.names else name + 4
            if label + sum(widths) <= width:
                return _Layout(percent, heads, cells, widths, label)
        # Nothing fits: save one column of space per class and cut the names, before the matrix is divided into blocks.
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
        # the number that stands above the column of this class
        start = "" if layout.heads is self.names else f"{row + 1:>3} "
        text = Text(no_wrap=True)
        text.append(set_cell_size(start + cut(self.names[row], layout.label - len(start)), layout.label), style="bold")
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
    """Yield ranges of columns that fit into `room`, with about the same number of columns in each."""
    count = len(widths)
    # one column is printed even if it does not fit
    most = max(1, room // max(widths))
    # -(-a // b) rounds up: the fewest blocks, then the columns spread evenly over them
    size = count if sum(widths) <= room else -(-count // -(-count // most))
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _heat(share: float) -> Style | None:
    if share < COLDEST_SHADED:
        return None
    red, green, blue = (_COLD + (_HOT - _COLD) * share / 100).round().astype(int).tolist()
    # the ink with more contrast on this background
    ink = "black" if share > 45 else "white"
    # as RGB, because the named colours depend on the theme of the terminal
    return Style(
        color=Color.parse("#000000" if ink == "black" else "#ffffff"), bgcolor=Color.from_rgb(red, green, blue)
    )


def _right(text: str, width: int) -> str:
    # not str.rjust: a wide character takes two cells of the terminal
    return " " * (width - cell_len(text)) + text
