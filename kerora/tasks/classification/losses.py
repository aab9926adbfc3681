"""The loss of a classifier."""

from typing import Any

import keras
import torch


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
