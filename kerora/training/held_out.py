"""Measures a masked language model on held-out rows at each epoch's end, always with the same masks."""

import time
from typing import Any

import keras
import torch

from kerora.data.masking import MaskedBatches
from kerora.models.masked_lm import MaskedLanguageModel, cosines_to_teacher, split_targets
from kerora.training.callbacks import HISTORY_COLUMNS

PRETRAIN_COLUMNS = (
    "epoch",
    "loss",
    "mlm_loss",
    "accuracy",
    "cosine",
    "token_cosine",
    "val_loss",
    "val_accuracy",
    "val_cosine",
    "val_token_cosine",
    *HISTORY_COLUMNS[HISTORY_COLUMNS.index("learning_rate") :],
)


class HeldOut(keras.callbacks.Callback):
    """Put ``val_loss``, ``val_accuracy`` and with a teacher ``val_cosine`` and ``val_token_cosine`` into the logs.

    Loss is the mean cross entropy in nats over all masked tokens, accuracy the share of them that is predicted
    right, the cosines the mean similarity of the first tokens to the teacher's sentence embeddings, and that of all
    tokens to the teacher's states. Put it before the callbacks that record the logs.

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
        """Return ``loss``, ``accuracy`` and with a teacher ``cosine`` and ``token_cosine``."""
        sums: dict[str, list[float]] = {}

        def add(name: str, values: torch.Tensor) -> None:
            total, count = sums.get(name, [0.0, 0])
            sums[name] = [total + float(values.sum()), count + len(values)]

        with torch.no_grad():
            for index in range(len(self.batches)):
                inputs, targets = self.batches[index]
                labels, teacher = split_targets(targets)
                outputs = model(inputs, training=False)
                logits, expected = outputs["logits"].float(), torch.as_tensor(labels).to(outputs["logits"].device)
                add("loss", torch.nn.functional.cross_entropy(logits, expected, reduction="none"))
                add("accuracy", (logits.argmax(dim=-1) == expected).float())
                if teacher is not None:
                    sentence, tokens = cosines_to_teacher(outputs["states"], teacher)
                    add("cosine", sentence)
                    add("token_cosine", tokens)
        return {name: total / max(1, count) for name, (total, count) in sums.items()}
