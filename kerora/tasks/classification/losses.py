"""The losses of a classifier."""

from collections.abc import Callable
from typing import Any

import keras
import torch

from kerora.settings.fit import TrainingConfig

# the smallest 1 - p
SMALLEST = 1e-12


@keras.saving.register_keras_serializable("kerora")
class CrossEntropy(keras.losses.Loss):
    """Cross entropy of integer labels and float32 logits, in nats, with label smoothing.

    With row weights, the mean is ``sum(w * loss) / sum(w)``, as in `torch.nn.CrossEntropyLoss`.

    Args:
        label_smoothing: share of the target that is spread evenly over all classes (Szegedy et al. 2016). Default: 0.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "cross_entropy", **options: Any) -> None:
        # Keras' default reduction divides by the number of rows, even if their weights do not add up to it
        options.setdefault("reduction", "mean_with_sample_weight")
        super().__init__(name=name, **options)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row, (rows,), from labels (rows,) and logits (rows, classes)."""
        # Keras may give labels (rows, 1), and torch needs int64 (rows,)
        labels = y_true.reshape(-1).long()
        return torch.nn.functional.cross_entropy(
            y_pred.float(), labels, reduction="none", label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("kerora")
class FocalLoss(keras.losses.Loss):
    """Focal loss of integer labels and float32 logits: the cross entropy, scaled by ``(1 - p) ** gamma`` of each class.

    Rows that the model is sure of count less (Lin et al. 2017, arXiv:1708.02002, equation 4). With label smoothing it
    is the sum over the classes of ``q (1 - p) ** gamma (-log p)`` with the smoothed targets q. With gamma 0 it is
    `CrossEntropy`. The weight alpha of the paper is the weight of the row.

    Args:
        gamma: 0 or more. The larger, the less count sure rows. Default: 2.
        label_smoothing: share of the target that is spread evenly over all classes. Default: 0.
    """

    def __init__(
        self, gamma: float = 2.0, label_smoothing: float = 0.0, name: str = "focal_loss", **options: Any
    ) -> None:
        # as in `CrossEntropy`: sum(w * loss) / sum(w)
        options.setdefault("reduction", "mean_with_sample_weight")
        super().__init__(name=name, **options)
        self.gamma = gamma
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row, (rows,), from labels (rows,) and logits (rows, classes)."""
        labels = y_true.reshape(-1, 1).long()
        logs = torch.nn.functional.log_softmax(y_pred.float(), dim=-1)
        # expm1 keeps the digits of 1 - p near p = 1. The clamp keeps the gradient finite there for gamma below 1.
        terms = (-torch.expm1(logs)).clamp_min(SMALLEST) ** self.gamma * -logs
        # (rows,): the term of the label, and the mean over all classes
        own, mean = terms.gather(-1, labels).squeeze(-1), terms.mean(dim=-1)
        return own if not self.label_smoothing else (1 - self.label_smoothing) * own + self.label_smoothing * mean

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "gamma": self.gamma, "label_smoothing": self.label_smoothing}


# by the value of `--loss`; the first one is the default
LOSSES: dict[str, Callable[[TrainingConfig], keras.losses.Loss]] = {
    "cross-entropy": lambda training: CrossEntropy(training.label_smoothing),
    "focal": lambda training: FocalLoss(training.focal_gamma, training.label_smoothing),
}
