"""Progress of a training: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from kerora.data.batches import Batches
from kerora.training.memory import peak_memory_mb

LINE_SECONDS = 15.0
"""Seconds between two lines if the output is not a terminal."""


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

    def follow(self, batches: Batches, total: int) -> None:
        """Use these training batches for tokens/s, and the `total` number of batches for the time left."""
        self.batches, self.total = batches, total

    def note(self, text: str) -> None:
        """Print a separate line."""
        # markup=False: rich would read a part of a text in square brackets as a style
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Open the bar."""
        self._started = self._last_line = time.perf_counter()
        self._tokens = 0 if self.batches is None else self.batches.tokens_served
        self._steps = int(self.params.get("steps") or 0)
        self._done = 0
        if self.console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            total = self.total or self._steps * int(self.params.get("epochs") or 1) or None
            self._task = self._bar.add_task("training", total=total, facts="")
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
            self._bar.update(self._task, completed=self._done, description=description, facts=self._facts(logs or {}))
        elif time.perf_counter() - self._last_line >= LINE_SECONDS:
            self._last_line = time.perf_counter()
            place = f"epoch {self._epoch + 1}  batch {self._done - self._epoch * self._steps}/{self._steps}"
            self.console.print(f"{place}  {self._facts(logs or {})}", highlight=False, soft_wrap=True)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Print the epoch's results."""
        classes = ("loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1")
        names = (*classes, "val_cosine", "val_token_cosine", "val_perplexity")
        values = [f"{name} {logs[name]:.4f}" for name in names if logs and logs.get(name) is not None]
        self.console.print(
            f"epoch {epoch + 1}/{self.params.get('epochs')}  {'  '.join(values)}", highlight=False, soft_wrap=True
        )

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Remove the bar from the screen. This is also called after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _facts(self, logs: Mapping[str, Any]) -> str:
        facts = [f"loss {logs['loss']:.4f}"] if "loss" in logs else []
        if self.batches is not None:
            seconds = time.perf_counter() - self._started
            facts.append(f"{(self.batches.tokens_served - self._tokens) / max(seconds, 1e-9):,.0f} tokens/s")
        return "  ".join([*facts, f"{peak_memory_mb():,.0f} MB"])


class Silent(Progress):
    """Progress that shows nothing."""

    def __init__(self) -> None:
        super().__init__(console=Console(quiet=True))
