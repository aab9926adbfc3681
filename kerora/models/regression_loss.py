"""The losses of a regression. They measure errors in standard deviations of the training targets."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.numbers import Scale
from kerora.errors import ConfigError

LOSSES = ("mse", "mae", "huber")
"""Squared error, absolute error, and Huber's loss with delta 1."""
DEFAULT_LOSS = "mse"


class ScaleHolder:
    """Something that has a scale, such as a model. The loss reads it at each call, as a fit can set it later."""

    scale: Scale


@keras.saving.register_keras_serializable("kerora")
class RegressionLoss(keras.losses.Loss):
    """The mean loss of errors in units of the deviation, over the targets of a row.

    With e = (prediction - target) / deviation, ``mse`` is e^2, ``mae`` is |e|, and ``huber`` is e^2 / 2 up to |e| = 1
    and |e| - 1/2 beyond it (Huber 1964, delta 1), as `torch.nn.functional.huber_loss`.

    Args:
        kind: ``mse``, ``mae`` or ``huber``. Default: ``mse``.
        deviation: the deviation of each target, or an object with a `scale`. Default: None, errors as they are.
    """

    def __init__(
        self,
        kind: str = DEFAULT_LOSS,
        deviation: "Sequence[float] | ScaleHolder | Any" = None,
        name: str = "regression_loss",
        **options: Any,
    ) -> None:
        if kind not in LOSSES:
            raise ConfigError(f"The loss of a regression is one of {', '.join(LOSSES)}. Received: {kind!r}")
        # Keras' default reduction divides by the number of rows, even if their weights do not add up to it
        options.setdefault("reduction", "mean_with_sample_weight")
        super().__init__(name=name, **options)
        self.kind = kind
        self._deviation = deviation

    @property
    def deviation(self) -> Sequence[float] | None:
        """The deviation of each target, or None."""
        found = self._deviation
        return found.scale.deviation if hasattr(found, "scale") else found

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row, (rows,), from targets and predictions (rows, targets)."""
        predicted = y_pred.float()
        errors = predicted - y_true.float().reshape(predicted.shape)
        if self.deviation is not None:
            errors = errors / torch.tensor(self.deviation, dtype=torch.float32, device=errors.device)
        return _losses(errors, self.kind, torch).mean(dim=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        deviation = None if self.deviation is None else list(self.deviation)
        return {**super().get_config(), "kind": self.kind, "deviation": deviation}


def losses_of_rows(targets: np.ndarray, predicted: np.ndarray, deviation: Sequence[float], kind: str) -> np.ndarray:
    """Return the loss of each row in float64, (rows,). See `RegressionLoss`.

    Args:
        targets: shape (rows, targets).
        predicted: shape (rows, targets).
        deviation: the deviation of each target.
        kind: ``mse``, ``mae`` or ``huber``.
    """
    errors = (np.asarray(predicted, np.float64) - targets) / np.asarray(deviation, np.float64)
    return np.asarray(_losses(errors, kind, np).mean(axis=-1))


def _losses(errors: Any, kind: str, library: Any) -> Any:
    """Return the losses of errors, with the functions of numpy or torch."""
    if kind == "mse":
        return errors**2
    sizes = abs(errors)
    return sizes if kind == "mae" else library.where(sizes <= 1, errors**2 / 2, sizes - 0.5)
