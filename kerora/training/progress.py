"""Progress of a training: a live bar on a terminal and in a notebook, plain lines elsewhere."""

import importlib.util
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from kerora.data.batches import Batches
from kerora.evaluation.terminal import Facts, say
from kerora.training.memory import peak_memory_mb

LINE_SECONDS = 15.0
"""Seconds between two lines if the output is not a terminal."""
EPOCH_VALUES = (
    *("loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1"),
    *("mae", "val_mae", "val_rmse", "val_pearson"),
    *("val_cosine", "val_token_cosine", "val_perplexity"),
)
"""The values of an epoch that are shown, in this order."""
# cells of a time, and of the bar on a narrow and on a wide terminal
CLOCK_WIDTH, NARROW_BAR, WIDE_BAR, WIDE = 8, 12, 24, 110


class Progress(keras.callbacks.Callback):
    """Show epochs, loss, tokens/s, memory and the time left.

    Put it last in the list of callbacks. The line at the end of an epoch then shows the values that the other
    callbacks add to the logs.

    Args:
        batches: the training batches. They are needed for tokens/s and for the time left of a resumed epoch.
        console: the output. None is standard error, because standard output is for results.
        total: number of batches of the whole run, for the time left. None means epochs times batches.
    """

    def __init__(
        self, batches: Batches | None = None, console: Console | None = None, total: int | None = None
    ) -> None:
        super().__init__()
        self.batches = batches
        self.console = console or Console(stderr=True)
        self.total = total
        self._bar: Bar | None = None
        self._heads: tuple[str, ...] = ()

    def follow(self, batches: Batches, total: int) -> None:
        """Use these training batches for tokens/s, and the `total` number of batches for the time left."""
        self.batches, self.total = batches, total

    def note(self, text: str) -> None:
        """Print a separate line. On a terminal, it wraps between words."""
        say(self.console, text)

    def _print(self, text: str) -> None:
        # markup=False: rich would read a part of a text in square brackets as a style
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the bar."""
        self._started = self._last_line = time.perf_counter()
        self._tokens = 0 if self.batches is None else self.batches.tokens_served
        self._steps = int(self.params.get("steps") or 0)
        self._done = 0
        self._heads = ()
        if can_draw(self.console):
            batches = len(str(self.total or self._steps * int(self.params.get("epochs") or 1)))
            columns = bar_columns(self.console.width, len(f"epoch {self.params.get('epochs')}") * 2 - 5, batches)
            self._bar = Bar(*columns, console=self.console, transient=True)
            total = self.total or self._steps * int(self.params.get("epochs") or 1) or None
            self._task = self._bar.add_task("training", total=total, loss="", speed="", memory="")
            self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Set the number of done batches to that at the start of the epoch, including batches that a resume skips."""
        skipped = 0 if self.batches is None else self.batches.start
        # _steps is the length of a whole epoch, because Keras counts the batches before `Position` moves them
        self._done = epoch * self._steps + skipped
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move the bar, or print a line every `LINE_SECONDS`."""
        self._done += 1
        if self._bar is not None:
            description = f"epoch {self._epoch + 1}/{self.params.get('epochs')}"
            facts: Any = self._facts(logs or {})
            self._bar.update(self._task, completed=self._done, description=description, **facts)
        elif time.perf_counter() - self._last_line >= LINE_SECONDS:
            self._last_line = time.perf_counter()
            place = f"epoch {self._epoch + 1}  batch {self._done - self._epoch * self._steps}/{self._steps}"
            self._print("  ".join([place, *filter(None, self._facts(logs or {}).values())]))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the epoch's results. On a terminal they are a row of a table, below the names of the values."""
        values = {name: f"{logs[name]:.4f}" for name in EPOCH_VALUES if logs and logs.get(name) is not None}
        place, last = f"{epoch + 1}/{self.params.get('epochs')}", self.params.get("epochs")
        facts = [f"epoch {place}", *(f"{name} {value}" for name, value in values.items())]
        if not can_draw(self.console):
            self._print("  ".join(facts))
            return
        first = max(len("epoch"), len(f"{last}/{last}"))
        widths = [first, *(max(len(name), len(value)) for name, value in values.items())]
        if sum(widths) + 2 * len(values) > self.console.width:
            self.console.print(Facts(facts, gap="  ", indent="  "), highlight=False)
            return
        # once, and again if other values are there
        if self._heads != (*values,):
            self._heads = (*values,)
            self._print(_row(("epoch", *values), widths))
        self._print(_row((place, *values.values()), widths))

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Remove the bar from the screen. This is also called after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _facts(self, logs: Mapping[str, Any]) -> dict[str, str]:
        speed = ""
        if self.batches is not None:
            seconds = time.perf_counter() - self._started
            speed = f"{(self.batches.tokens_served - self._tokens) / max(seconds, 1e-9):,.0f} tokens/s"
        loss = f"loss {logs['loss']:.4f}" if "loss" in logs else ""
        return {"loss": loss, "speed": speed, "memory": f"{peak_memory_mb():,.0f} MB"}


def can_draw(console: Console) -> bool:
    """Tell whether a bar can be drawn over: on a terminal, and in a notebook with ipywidgets, which rich needs."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


def bar_columns(width: int, epoch: int, batches: int) -> list[ProgressColumn]:
    """Return the columns of the bar that fit into a width. The time left is the last to be dropped.

    Args:
        width: cells of the terminal.
        epoch: cells of ``epoch 12/12``.
        batches: digits of the number of batches.
    """
    bar = WIDE_BAR if width >= WIDE else NARROW_BAR
    clocks = [TextColumn("ETA"), TimeRemainingColumn()]
    # cells, importance (1 is shown first) and columns, from left to right; a cell of space follows each column
    parts: Sequence[tuple[int, int, list[ProgressColumn]]] = [
        (epoch, 2, [TextColumn("{task.description}")]),
        (bar, 5, [BarColumn(bar_width=bar)]),
        (2 * batches + 1, 4, [MofNCompleteColumn()]),
        (len("loss 99.9999"), 3, [TextColumn("{task.fields[loss]}")]),
        (len("999,999 tokens/s"), 6, [TextColumn("{task.fields[speed]}")]),
        (len("999,999 MB"), 8, [TextColumn("{task.fields[memory]}")]),
        (CLOCK_WIDTH, 7, [TimeElapsedColumn()]),
        (CLOCK_WIDTH + 4, 1, clocks),
    ]
    kept: set[int] = set()
    used = -1
    for size, importance, _ in sorted(parts, key=lambda part: part[1]):
        if used + size + 1 <= width:
            used += size + 1
            kept.add(importance)
    return [column for _, importance, columns in parts if importance in kept for column in columns]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


class Silent(Progress):
    """Progress that shows nothing."""

    def __init__(self) -> None:
        super().__init__(console=Console(quiet=True))
