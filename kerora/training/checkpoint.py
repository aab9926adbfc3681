"""Checkpoints: everything that a resumed run needs to end with the same bytes.

A checkpoint is a folder `checkpoints/step-NNNNNN` with two files. `state.safetensors` has the trainable
weights, the best weights so far, and the variables of the optimizer and the metrics. `state.json` has the
position, the history and the states of the callbacks. A checkpoint has no random state, because the order
of rows and dropout depend only on the seed and the position (see `data.batches` and `training.step`).
`state.json` is written last. A folder without it is not a checkpoint.
"""

import json
import re
import shutil
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kerora.errors import Interrupted, RunError
from kerora.runfolder import read_json, write_bytes, write_json
from kerora.training.callbacks import History
from kerora.training.interrupt import InterruptFlag
from kerora.training.step import TrainStep
from kerora.training.stopping import EarlyStopping

WEIGHTS_FILE = "state.safetensors"
STATE_FILE = "state.json"
STATE_KEYS = ("epoch", "position", "done", "best_checkpoint", "history", "early_stopping")
REMEDY = "Delete the checkpoint to continue from an earlier one."


class Checkpoint:
    """A checkpoint that was read from disk and checked.

    Raises:
        RunError: a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = read_json(folder / STATE_FILE)
        missing = [key for key in STATE_KEYS if key not in self.state]
        if missing:
            raise RunError(f"{folder / STATE_FILE} is damaged: it lacks {', '.join(missing)}. {REMEDY}")
        try:
            self.tensors = safetensors.numpy.load((folder / WEIGHTS_FILE).read_bytes())
        except (OSError, safetensors.SafetensorError, ValueError) as error:
            raise RunError(f"The checkpoint {folder} is damaged: {error}. {REMEDY}") from error

    @property
    def epoch(self) -> int:
        """Epoch to continue in, from 0."""
        return int(self.state["epoch"])

    @property
    def position(self) -> int:
        """Number of batches of that epoch that are already done."""
        return int(self.state["position"])

    def restore_model(self, model: keras.Model) -> None:
        """Set the trainable weights and the optimizer.

        Raises:
            RunError: the checkpoint belongs to another model or optimizer.
        """
        # Keras would create the variables of the optimizer only inside `fit`
        model.optimizer.build(model.trainable_variables)
        self._assign("weight", model.trainable_variables)
        self._assign("optimizer", model.optimizer.variables)

    def restore_metrics(self, model: keras.Model) -> None:
        """Set the running means of an epoch that continues in its middle."""
        if self.position:
            self._assign("metric", _metric_variables(model))

    def best_weights(self, model: keras.Model) -> list[np.ndarray] | None:
        """Return the best trainable weights so far, or None before the first epoch's end."""
        if "best.0" not in self.tensors:
            return None
        return [self.tensors[f"best.{index}"] for index in range(len(model.trainable_variables))]

    def _assign(self, kind: str, variables: list[Any]) -> None:
        for index, variable in enumerate(variables):
            value = self.tensors.get(f"{kind}.{index}")
            # The file holds numbers instead of names. Only the shapes tell whether the order of the variables fits.
            if value is None or value.shape != tuple(variable.shape):
                found = "is missing" if value is None else f"has shape {value.shape}, needs {tuple(variable.shape)}"
                raise RunError(f"The checkpoint {self.folder} does not fit this model: {kind} {index} {found}.")
            variable.assign(value)


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """Return the newest complete checkpoint of a run, or None."""
    folders = checkpoint_folders(directory)
    return Checkpoint(folders[-1]) if folders else None


class Checkpointer(keras.callbacks.Callback):
    """Save a checkpoint at the end of each epoch, every `save_steps` updates or `save_minutes`, and after a signal.

    The state is copied in memory, and a thread writes it while training continues. The newest checkpoints are kept,
    that of the newest whole epoch, and the best. Put this callback after the callbacks whose state it saves.

    Args:
        directory: the run's `checkpoints` folder.
        step: the train step, for the position.
        history: the history callback.
        stopping: the early-stopping callback, or None.
        save_steps: number of updates between two checkpoints inside an epoch. None saves only at the end of epochs.
        interrupt: a raised flag means: save at the next update, then stop.
        command: the command that continues the run. Default: ``fit``.
        save_minutes: minutes between two checkpoints inside an epoch. None saves none by time, the default.
        keep: number of newest checkpoints that are kept. Default: 1.
    """

    def __init__(
        self,
        directory: Path,
        step: TrainStep,
        history: History,
        stopping: EarlyStopping | None,
        save_steps: int | None,
        interrupt: InterruptFlag,
        command: str = "fit",
        *,
        save_minutes: float | None = None,
        keep: int = 1,
    ) -> None:
        super().__init__()
        self.directory = directory
        self.save_minutes = save_minutes
        self.keep = keep
        self.step = step
        self.history = history
        self.stopping = stopping
        self.save_steps = save_steps
        self.interrupt = interrupt
        self.command = command
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._best: Path | None = None
        self._whole: Path | None = None
        self._saved = time.monotonic()

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Start the clock of `save_minutes`."""
        self._saved = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save if this batch ended an update and a checkpoint is due."""
        # A gradient that waits for its update is not saved. The last batch is left to `on_epoch_end`, so that
        # the checkpoint includes the validation results.
        if not self.step.at_update or self.step.position >= self.step.batches_per_epoch:
            return
        updates = self._updates()
        if self.interrupt.raised:
            self._save(self.step.epoch, self.step.position, done=False)
            self._stop()
        elif (self.save_steps and updates % self.save_steps == 0) or self._is_late():
            self._save(self.step.epoch, self.step.position, done=False)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Save the state between two epochs."""
        # `done`: without it, a resume would train on after early stopping
        self._save(epoch + 1, 0, done=bool(self.model.stop_training))
        if self.interrupt.raised:
            self._stop()

    def finish(self) -> None:
        """Wait for the writer. This is also called after an error.

        Raises:
            RunError: the last checkpoint could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _is_late(self) -> bool:
        return self.save_minutes is not None and time.monotonic() - self._saved >= self.save_minutes * 60

    def _updates(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _save(self, epoch: int, position: int, done: bool) -> None:
        self.finish()  # one write at a time, because each write deletes older checkpoints
        tensors = _copy("weight", self.model.trainable_variables) | _copy("optimizer", self.model.optimizer.variables)
        tensors |= _copy("metric", _metric_variables(self.model)) if position else {}
        if self.stopping is not None and self.stopping.best_weights is not None:
            tensors |= {f"best.{index}": value for index, value in enumerate(self.stopping.best_weights)}
        # with the updates that were left out: two checkpoints must not have one name, because a kill between the two
        # files of the second one would mix them
        folder = self.directory / f"step-{self._updates() + self.step.skipped:06d}"
        # position 0 of the next epoch: the current weights are those of the epoch that just became the best
        if self.stopping is not None and position == 0 and self.stopping.best_epoch == epoch - 1:
            self._best = folder
        if position == 0:
            self._whole = folder
        state = {
            "epoch": epoch,
            "position": position,
            "updates": self._updates(),
            "done": done,
            "best_checkpoint": None if self._best is None else self._best.name,
            "whole_checkpoint": None if self._whole is None else self._whole.name,
            "skipped": [self.step.skipped, self.step.skipped_in_row],
            "history": self.history.state(),
            "early_stopping": None if self.stopping is None else self.stopping.state(),
        }
        # a deep copy of the state, because training changes the lists in it while the thread writes
        kept = {path for path in (self._best, self._whole) if path is not None}
        self._pending = self._writer.submit(_write, folder, tensors, json.loads(json.dumps(state)), kept, self.keep)
        self._saved = time.monotonic()

    def _stop(self) -> None:
        self.finish()
        run = self.directory.parent
        # An exception and not `stop_training`: Keras would then call on_epoch_end, which adds an incomplete epoch to
        # the history.
        raise Interrupted(
            f"Interrupted. The state is saved. Continue with: kerora {self.command} --resume {run}",
            self.interrupt.signal_number,
        )


def restore_callbacks(
    checkpoint: Checkpoint, model: keras.Model, history: History, stopping: EarlyStopping | None, saver: Checkpointer
) -> None:
    """Restore the state of the callbacks from the checkpoint."""
    history.restore(checkpoint.state["history"], inside_epoch=checkpoint.position > 0)
    if stopping is not None and checkpoint.state["early_stopping"] is not None:
        stopping.restore(checkpoint.state["early_stopping"], checkpoint.best_weights(model))
    # checkpoints of earlier versions do not count them
    saver.step.skipped, saver.step.skipped_in_row = checkpoint.state.get("skipped", (0, 0))
    if checkpoint.state["best_checkpoint"]:
        saver._best = saver.directory / checkpoint.state["best_checkpoint"]
    if checkpoint.state.get("whole_checkpoint"):
        saver._whole = saver.directory / checkpoint.state["whole_checkpoint"]


def _write(
    folder: Path, tensors: dict[str, np.ndarray], state: dict[str, Any], kept: Collection[Path], newest: int
) -> None:
    write_bytes(folder / WEIGHTS_FILE, safetensors.numpy.save(tensors))
    write_json(folder / STATE_FILE, state)
    # only now: until this checkpoint is complete, the older one is the state to continue from
    complete = checkpoint_folders(folder.parent)
    for other in _step_folders(folder.parent):
        # without its state: what a killed process left
        if other not in kept and other not in complete[-newest:]:
            shutil.rmtree(other, ignore_errors=True)


def checkpoint_folders(directory: Path) -> list[Path]:
    """Return the folders of the complete checkpoints of a run, the newest last."""
    complete = [path for path in _step_folders(directory) if (path / STATE_FILE).is_file()]
    # by number: as text, step-1000000 would come before step-999999
    return sorted(complete, key=lambda path: int(path.name[5:]))


def _step_folders(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return [path for path in directory.iterdir() if re.fullmatch(r"step-\d+", path.name)]


def _copy(kind: str, variables: list[Any]) -> dict[str, np.ndarray]:
    # a copy, because on a CPU the array shares its memory with the tensor that the next update changes
    return {f"{kind}.{index}": np.array(_numpy(variable), copy=True) for index, variable in enumerate(variables)}


def _numpy(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable.value)


def _metric_variables(model: keras.Model) -> list[Any]:
    return [variable for metric in model.metrics for variable in metric.variables]
