"""Early stopping that takes the noise of the validation score into account."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import keras
import numpy as np

from kerora.errors import ConfigError
from kerora.evaluation.directions import is_lower_better

VALUE_ERRORS, LOSS_ERRORS = 2.0, 2.0
"""Number of standard errors by which an epoch may be worse than the best one, for the monitored value and the loss."""


@runtime_checkable
class Noise(Protocol):
    """Gives the standard errors of validation scores."""

    def standard_error(self, name: str) -> float:
        """Return the standard error of the newest value of a score. `name` is its name in the logs. 0 if unknown."""
        ...


class Record(NamedTuple):
    """The best value of a score so far, with the sign for which less is better, and its standard error."""

    value: float
    error: float


class EarlyStopping(keras.callbacks.Callback):
    """Stop when a monitored value no longer improves, and restore the trainable weights of the kept epoch.

    It differs from `keras.callbacks.EarlyStopping` in two ways. It copies only the trainable weights. It restores them
    even if training ran to its last epoch.

    Without `noise`, the kept epoch is the epoch with the best value, of equal values the one with the lower loss. With
    `noise`, it is the newest epoch whose value is within two standard errors of the best value and whose loss is within
    two standard errors of the best loss. This follows the one-standard-error rule of Breiman et al. 1984, section
    3.4.3. With few rows, the best value is mostly chance, and it often comes early, while the learning rate is still
    high. `benchmarks/early_stopping.py` compares this rule with others.

    Args:
        monitor: key in the logs of an epoch. Default: ``val_loss``.
        patience: number of successive epochs without improvement before the stop. Default: 2.
        min_delta: smallest change that is an improvement, without `noise`. Default: 0.
        mode: ``min``, ``max``, or ``auto``, which takes the direction of the metric from the table in
            `kerora.evaluation.directions`. Default: ``auto``.
        restore_best: restore the weights of the kept epoch at the end. Default: True.
        noise: gives the standard errors of the values, such as a `ClassificationReport` that runs before this
            callback. Default: None.
        loss: key in the logs of the loss that decides between equal values, and that is also checked with `noise`.
            Default: ``val_loss``.

    Raises:
        ConfigError: `mode` is ``auto`` and the metric is unknown. Or the logs at the end of the first epoch do not
            hold `monitor`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 2,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
        *,
        noise: Noise | None = None,
        loss: str = "val_loss",
    ) -> None:
        super().__init__()
        self.monitor = monitor
        self.patience = patience
        self.min_delta = abs(min_delta)
        self.restore_best = restore_best
        self.noise = noise
        self.loss = loss
        self.sign = 1.0 if _is_minimised(monitor, mode) else -1.0
        self._restored = False
        self._reset()

    def _reset(self) -> None:
        self.best = self.best_loss = math.inf
        self.best_epoch: int | None = None
        self.best_weights: list[np.ndarray] | None = None
        self.records: dict[str, Record] = {}
        self.wait = 0
        self.stopped_epoch: int | None = None

    @property
    def best_value(self) -> float | None:
        """The monitored value of the kept epoch so far, or None before the end of the first epoch."""
        return None if self.best_epoch is None else self.sign * self.best

    def describe(self, last: int | None = None) -> str:
        """Return one line: which epoch is kept, which epoch ended the training, and why.

        Args:
            last: number of the last epoch, from 1. None leaves it out if training did not stop early.
        """
        if self.best_value is None or self.best_epoch is None:
            return ""
        record = self.records.get(self.monitor)
        best = "" if record is None else f", the best {self.sign * record.value:.4f}"
        kept = f"Kept epoch {self.best_epoch + 1}: {self.monitor} {self.best_value:.4f}{best}"
        if self.stopped_epoch is None:
            return kept if last is None else f"{kept}. Training ended with epoch {last}, the last one"
        after = self.stopped_epoch - self.best_epoch
        epochs = "The epoch after it was" if after == 1 else f"The {after} epochs after it were"
        why = f"{epochs} no improvement (--patience {self.patience})"
        return f"{kept}. {why}, so training stopped early, after epoch {self.stopped_epoch + 1}"

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Reset the state, unless it was just restored."""
        if not self._restored:
            self._reset()
        self._restored = False

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Compare the value of the epoch with the best value."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            known = ", ".join(sorted(logs or {}))
            raise ConfigError(
                f"Early stopping monitors '{self.monitor}', which the logs do not hold. They hold: {known}."
            )
        # raised before the comparison, which sets it back: it counts the epochs since the kept one
        self.wait += 1
        if self._counts(value, logs or {}):
            self.best, self.best_epoch, self.wait = self.sign * value, epoch, 0
            self.best_weights = trainable_values(self.model)
        elif self.wait > 0 and self.wait >= max(1, self.patience):
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _counts(self, value: float, logs: Mapping[str, Any]) -> bool:
        """Tell whether the epoch is the best so far, or as good as the best within the noise."""
        loss = logs.get(self.loss)
        if self.noise is None:
            # of equal values, such as those of a model that always answers the same, the lower loss is kept
            number = math.inf if loss is None else float(loss)
            tie = self.sign * value == self.best and self.loss != self.monitor
            better = self.sign * value < self.best - self.min_delta or (tie and number < self.best_loss)
            if better:
                self.best_loss = number
            return better
        good = self._is_within(self.monitor, self.sign * value, VALUE_ERRORS)
        if self.loss != self.monitor and loss is not None:
            # evaluated even if the value is already too bad, because a best loss must be recorded
            good = self._is_within(self.loss, float(loss), LOSS_ERRORS) and good
        return good

    def _is_within(self, name: str, value: float, width: float) -> bool:
        assert self.noise is not None
        # a record that is not a number would be worse than no later value
        if not math.isfinite(value):
            return False
        record = self.records.get(name)
        # read at once: `noise` knows only the error of the newest value, and the record needs that of the best one
        if record is None or value < record.value:
            record = self.records[name] = Record(value, self.noise.standard_error(name))
        return value <= record.value + width * record.error

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Restore the weights of the kept epoch."""
        if self.restore_best and self.best_weights is not None:
            for variable, value in zip(self.model.trainable_variables, self.best_weights, strict=True):
                variable.assign(value)

    def state(self) -> dict[str, Any]:
        """Return the state that a resume needs, without the weights."""
        return {
            "best": None if self.best_epoch is None else self.best,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "stopped_epoch": self.stopped_epoch,
            "records": {name: list(record) for name, record in self.records.items()},
        }

    def restore(self, state: Mapping[str, Any], best_weights: list[np.ndarray] | None) -> None:
        """Restore a saved state."""
        # JSON has no infinity, so `state` stores None before the first epoch ends
        self.best = math.inf if state["best"] is None else float(state["best"])
        loss = state.get("best_loss")
        self.best_loss = math.inf if loss is None else float(loss)
        self.best_epoch, self.wait, self.stopped_epoch = state["best_epoch"], state["wait"], state["stopped_epoch"]
        self.records = {name: Record(*record) for name, record in state.get("records", {}).items()}
        self.best_weights = best_weights
        self._restored = True


def trainable_values(model: keras.Model) -> list[np.ndarray]:
    """Return copies of the trainable weights of a model."""
    # copies, because on a CPU the arrays would share their memory with weights that still change
    return [np.array(keras.ops.convert_to_numpy(variable.value), copy=True) for variable in model.trainable_variables]


def _is_minimised(monitor: str, mode: str) -> bool:
    if mode not in ("auto", "min", "max"):
        raise ConfigError(f"EarlyStopping mode must be auto, min or max. Received: {mode!r}")
    if mode != "auto":
        return mode == "min"
    found = is_lower_better(monitor)
    if found is None:
        raise ConfigError(
            f"EarlyStopping does not know whether a lower or a higher value of '{monitor}' is better. "
            "Give mode='min' or mode='max'."
        )
    return found
