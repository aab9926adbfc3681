"""The loss of a model with several labels per text."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

MOST_WEIGHT = 100.0
"""Largest weight of the positive rows of a label."""


@keras.saving.register_keras_serializable("kerora")
class LabelCrossEntropy(keras.losses.Loss):
    """Binary cross entropy of each label from float32 logits, in nats, averaged over the labels.

    Without row weights it is `torch.nn.BCEWithLogitsLoss`, which transformers takes for several labels. With them, the
    mean is ``sum(w * loss) / sum(w)``.

    Args:
        label_smoothing: s in the targets ``y (1 - s) + s / 2``, so that 0 becomes s / 2 and 1 becomes 1 - s / 2, as in
            `keras.losses.BinaryCrossentropy`. Default: 0.
        positive_weights: weight of the positive term of each label, (classes,). Default: None, all are 1.
        gamma: focal loss: scales the terms by ``(1 - p) ** gamma``, with the probability p of the right answer, so that
            labels that the model is sure of count less (Lin et al. 2017, arXiv:1708.02002). Default: 0, no scaling.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        positive_weights: Sequence[float] | None = None,
        gamma: float = 0.0,
        name: str = "label_cross_entropy",
        **options: Any,
    ) -> None:
        # Keras' default reduction divides by the number of rows, even if their weights do not add up to it
        options.setdefault("reduction", "mean_with_sample_weight")
        super().__init__(name=name, **options)
        self.label_smoothing = label_smoothing
        self.gamma = gamma
        self.positive_weights = None if positive_weights is None else tuple(map(float, positive_weights))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row, (rows,), from targets and logits, each (rows, classes)."""
        logits = y_pred.float()
        targets = y_true.to(logits.device).float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        weights = self.positive_weights
        positive = None if weights is None else torch.tensor(weights, device=logits.device)
        if not self.gamma:
            return torch.nn.functional.binary_cross_entropy_with_logits(
                logits, targets, reduction="none", pos_weight=positive
            ).mean(dim=-1)
        yes, no = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
        # 1 - p is the probability of the other answer. exp(gamma * log) has a finite gradient where that is 0.
        positive_terms = -targets * yes * torch.exp(self.gamma * no) * (1.0 if positive is None else positive)
        return (positive_terms - (1 - targets) * no * torch.exp(self.gamma * yes)).mean(dim=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"label_smoothing": self.label_smoothing, "positive_weights": self.positive_weights, "gamma": self.gamma}
        return {**super().get_config(), **own}


def balanced_weights(labels: np.ndarray) -> list[float]:
    """Return negative / positive rows of each label, at most 100, and 1 for a label without positive rows.

    A label that more than half of the rows have gets a weight below 1.

    Args:
        labels: whether each row has each label, bool (rows, classes).
    """
    positive = labels.sum(axis=0)
    ratio = (len(labels) - positive) / np.maximum(positive, 1)
    # a label that all rows have has the ratio 0, which would remove it from the loss
    found = np.where(positive > 0, np.clip(ratio, 1 / MOST_WEIGHT, MOST_WEIGHT), 1.0)
    return [float(value) for value in found]
