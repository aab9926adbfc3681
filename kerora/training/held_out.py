"""Measures a masked language model on held-out rows at each epoch's end, always with the same masks."""

import time
from typing import Any

import keras
import torch

from kerora.data.masking import MaskedBatches
from kerora.models.masked_lm import MaskedLanguageModel, cosine_to_teacher, split_targets
from kerora.training.callbacks import HISTORY_COLUMNS

PRETRAIN_COLUMNS = (
    "epoch",
    "loss",
    "mlm_loss",
    "accuracy",
    "cosine",
    "val_loss",
    "val_accuracy",
    "val_cosine",
    *HISTORY_COLUMNS[HISTORY_COLUMNS.index("learning_rate") :],
)


class HeldOut(keras.callbacks.Callback):
    """Put ``val_loss``, ``val_accuracy`` and with a teacher ``val_cosine`` into the logs.

    Loss is the mean cross entropy in nats over all masked tokens, accuracy the share of them that is predicted
    right, cosine the mean similarity of the projected sentence vectors to the teacher's. Put it before the callbacks
    that record the logs.

    Args:
        batches: the held-out rows, not shuffled.
    """

    def __init__(self, batches: MaskedBatches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, and extend the logs."""
        started = time.perf_counter()
        metrics = self.evaluate(self.model)
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in metrics.items()})
            logs["validation_seconds"] = time.perf_counter() - started

    def evaluate(self, model: MaskedLanguageModel) -> dict[str, float]:
        """Return ``loss``, ``accuracy`` and with a teacher ``cosine``."""
        totals = {"loss": 0.0, "accuracy": 0.0, "cosine": 0.0}
        tokens = rows = 0
        with torch.no_grad():
            for index in range(len(self.batches)):
                inputs, targets = self.batches[index]
                labels, teacher = split_targets(targets)
                outputs = model(inputs, training=False)
                logits, expected = outputs["logits"].float(), torch.as_tensor(labels).to(outputs["logits"].device)
                totals["loss"] += float(torch.nn.functional.cross_entropy(logits, expected, reduction="sum"))
                totals["accuracy"] += float((logits.argmax(dim=-1) == expected).sum())
                tokens += len(labels)
                if teacher is not None:
                    totals["cosine"] += float(cosine_to_teacher(outputs["sentence"], teacher).sum())
                    rows += len(teacher)
        metrics = {name: totals[name] / max(1, tokens) for name in ("loss", "accuracy")}
        return metrics | ({"cosine": totals["cosine"] / rows} if rows else {})
