"""The record of a training, as a Keras callback for `kerora fit` and for anyone's `model.fit`.

Callbacks that carry state over a resume have `state()` and `restore(state)`. A restored callback keeps its state
through the next `on_train_begin`; any other starts afresh there.
"""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kerora.compat import loss_tracker
from kerora.data.batches import Batches
from kerora.runfolder import write_text
from kerora.tasks.contract import HISTORY_COLUMNS
from kerora.training.memory import peak_memory_mb

STEP_COLUMNS = ("step", "epoch", "loss", "learning_rate")


class History(keras.callbacks.Callback):
    """Record each epoch, and write the record as history.csv when a path is given.

    Column `seconds` is training alone. `validation_seconds` lasts from the last training batch to this callback, so
    put it behind the evaluating ones. `tokens_per_second` counts real tokens, not padding, and needs `batches`.

    Args:
        path: file to write after each epoch; None keeps the record in `rows` only.
        batches: the training batches, for the token count.
        columns: what to record; default those of a classifier's history.csv.
        steps: file for a row each `logging_steps` updates, with columns `STEP_COLUMNS`; needs it.
        logging_steps: updates between two such rows; None records epochs only.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        batches: Batches | None = None,
        columns: Sequence[str] = HISTORY_COLUMNS,
        *,
        steps: Path | str | None = None,
        logging_steps: int | None = None,
    ) -> None:
        super().__init__()
        self.path = None if path is None else Path(path)
        self.batches = batches
        self.columns = tuple(columns)
        self.steps_path = None if steps is None else Path(steps)
        self.logging_steps = logging_steps
        self.rows: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self._logged = (0.0, 0.0)
        self._restored = False
        self._earlier_seconds = 0.0
        self._begin_epoch()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start afresh, unless the record was just restored."""
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
        """Note the time of the newest batch, and record the update where one is due."""
        self._last_batch = time.perf_counter()
        if self.logging_steps is None:
            return
        updates = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if updates % self.logging_steps == 0 and updates > (self.steps[-1]["step"] if self.steps else 0):
            self._record_step(updates)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Add the epoch's row and write the file."""
        logs = logs or {}
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

    def _record_step(self, updates: int) -> None:
        # the loss tracker holds the sum of the epoch so far: the difference is what came since the last row
        total, count = (float(keras.ops.convert_to_numpy(value)) for value in loss_tracker(self.model).variables)
        before = self._logged if count >= self._logged[1] else (0.0, 0.0)
        loss = (total - before[0]) / max(count - before[1], 1e-12)
        self._logged = (total, count)
        self.steps.append(
            {"step": updates, "epoch": self._epoch + 1, "loss": loss, "learning_rate": _learning_rate(self.model)}
        )
        if self.steps_path is not None:
            write_text(self.steps_path, _as_csv(self.steps, STEP_COLUMNS))

    def state(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {
            "rows": self.rows,
            "steps": self.steps,
            "logged": self._logged,
            "seconds_in_epoch": self._last_batch - self._started + self._earlier_seconds,
        }

    def restore(self, state: Mapping[str, Any], inside_epoch: bool) -> None:
        """Take up a saved record; inside an epoch its seconds go on counting."""
        self.rows = [dict(row) for row in state["rows"]]
        self.steps = [dict(row) for row in state.get("steps", ())]
        total, count = state.get("logged", (0.0, 0.0))
        self._logged = (float(total), float(count))
        self._earlier_seconds = float(state["seconds_in_epoch"]) if inside_epoch else 0.0
        self._restored = True

    def _begin_epoch(self) -> None:
        self._started = self._last_batch = time.perf_counter()
        self._tokens = 0 if self.batches is None else self.batches.tokens_served


def _learning_rate(model: keras.Model) -> float | None:
    optimizer = getattr(model, "optimizer", None)
    return None if optimizer is None else float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row[name]) for name in columns})
    return stream.getvalue()


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
