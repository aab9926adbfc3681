"""The history of a training, as a Keras callback for `kerora fit` and for a plain `model.fit`.

A callback whose state survives a resume has `state()` and `restore(state)`. A restored callback keeps its state in the
next `on_train_begin`. Any other callback resets its state there.
"""

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kerora.compat import loss_tracker
from kerora.data.batches import Batches
from kerora.runfolder import write_text
from kerora.tasks.contract import HISTORY_COLUMNS
from kerora.training.memory import peak_memory_mb

Observer = Callable[[str, Mapping[str, Any], int], None]
STEP_COLUMNS = ("step", "epoch", "loss", "learning_rate")


class History(keras.callbacks.Callback):
    """Record each epoch, and write the record as history.csv if a path is given.

    Column `seconds` is the training without validation. `validation_seconds` is the time from the last training batch
    to this callback. Put this callback after the callbacks that evaluate. `tokens_per_second` counts tokens without
    padding and needs `batches`.

    Args:
        path: file to write after each epoch. None keeps the record only in `rows`.
        batches: the training batches, for the token count.
        columns: columns to record. Default: the columns of a classifier's history.csv.
        steps: file with one row per `logging_steps` updates and the columns `STEP_COLUMNS`. Needs `logging_steps`.
        logging_steps: updates between two rows of `steps`. None records only epochs.
        observer: called with ``epoch`` or ``step``, the new row, and the number of updates so far.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        batches: Batches | None = None,
        columns: Sequence[str] = HISTORY_COLUMNS,
        *,
        steps: Path | str | None = None,
        logging_steps: int | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__()
        self.path = None if path is None else Path(path)
        self.batches = batches
        self.columns = tuple(columns)
        self.steps_path = None if steps is None else Path(steps)
        self.logging_steps = logging_steps
        self.observer = observer
        self.rows: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self._logged = (0.0, 0.0)
        self._restored = False
        self._earlier_seconds = 0.0
        self._begin_epoch()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Clear the record, unless it was just restored."""
        if not self._restored:
            self.rows, self.steps = [], []
            self._logged = (0.0, 0.0)
            self._earlier_seconds = 0.0
        self._restored = False

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the clock."""
        self._begin_epoch()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the time of the newest batch, and record the update if a row is due."""
        self._last_batch = time.perf_counter()
        if self.logging_steps is None:
            return
        # all batches of one update see the same count, so the second condition prevents repeated rows
        updates = updates_of(self.model)
        if updates % self.logging_steps == 0 and updates > (self.steps[-1]["step"] if self.steps else 0):
            self._record_step(updates)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Add the epoch's row and write the file."""
        logs = logs or {}
        # up to the last batch, because the callbacks before this one have validated since then
        seconds = self._last_batch - self._started
        tokens = (self.batches.tokens_served - self._tokens) if self.batches is not None else None
        row = {name: logs.get(name) for name in self.columns}
        row |= {
            "epoch": epoch + 1,
            "learning_rate": _learning_rate(self.model),
            "seconds": self._earlier_seconds + seconds,
            "validation_seconds": time.perf_counter() - self._last_batch,
            "tokens_per_second": None if tokens is None or seconds <= 0 else tokens / seconds,
            "peak_memory_mb": peak_memory_mb(),
        }
        self._earlier_seconds = 0.0
        self.rows.append(row)
        if self.path is not None:
            write_text(self.path, _as_csv(self.rows, self.columns))
        if self.observer is not None:
            self.observer("epoch", row, updates_of(self.model))

    def _record_step(self, updates: int) -> None:
        # The loss tracker holds the sum over the epoch so far. The difference to the last row is the new part.
        total, count = (float(keras.ops.convert_to_numpy(value)) for value in loss_tracker(self.model).variables)
        # Keras resets the tracker at the start of an epoch: the count is then below the last one
        before = self._logged if count >= self._logged[1] else (0.0, 0.0)
        loss = (total - before[0]) / max(count - before[1], 1e-12)
        self._logged = (total, count)
        self.steps.append(
            {"step": updates, "epoch": self._epoch + 1, "loss": loss, "learning_rate": _learning_rate(self.model)}
        )
        if self.steps_path is not None:
            write_text(self.steps_path, _as_csv(self.steps, STEP_COLUMNS))
        if self.observer is not None:
            self.observer("step", self.steps[-1], updates)

    def state(self) -> dict[str, Any]:
        """Return the state that a resume needs."""
        return {
            "rows": self.rows,
            "steps": self.steps,
            "logged": self._logged,
            "seconds_in_epoch": self._last_batch - self._started + self._earlier_seconds,
        }

    def restore(self, state: Mapping[str, Any], inside_epoch: bool) -> None:
        """Restore a saved record. Inside an epoch, the saved seconds are added to the seconds of that epoch."""
        self.rows = [dict(row) for row in state["rows"]]
        self.steps = [dict(row) for row in state.get("steps", ())]
        # checkpoints of earlier versions lack these keys
        total, count = state.get("logged", (0.0, 0.0))
        self._logged = (float(total), float(count))
        # a checkpoint between two epochs holds the seconds of an epoch that already has its row
        self._earlier_seconds = float(state["seconds_in_epoch"]) if inside_epoch else 0.0
        self._restored = True

    def _begin_epoch(self) -> None:
        self._started = self._last_batch = time.perf_counter()
        self._tokens = 0 if self.batches is None else self.batches.tokens_served


def updates_of(model: keras.Model) -> int:
    """Return the number of updates that the optimizer of a compiled model has made."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def _learning_rate(model: keras.Model) -> float | None:
    optimizer = getattr(model, "optimizer", None)
    # the rate of the next update, because the optimizer has counted the last one already
    return None if optimizer is None else float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row[name]) for name in columns})
    return stream.getvalue()


def _cell(value: Any) -> Any:
    # the losses are float32, which has about seven digits
    return f"{value:.6g}" if isinstance(value, float) else value
