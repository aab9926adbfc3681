"""Measures a model on the held-out part at the end of each epoch. The masks are the same in every epoch."""

import time
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.tokens import TokenTable
from kerora.models.tokenizer import TextTokenizer
from kerora.pretraining.masked_lm import cosines_to_teacher, split_targets
from kerora.pretraining.masking import MaskedBatches
from kerora.tasks.contract import HISTORY_COLUMNS
from kerora.tasks.language.measure import evaluate_table

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
    # the columns that every training has: rate, times, tokens/s, memory
    *HISTORY_COLUMNS[HISTORY_COLUMNS.index("learning_rate") :],
)


class _Measuring(keras.callbacks.Callback):
    """Adds the metrics of `evaluate` to the logs at the end of each epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, and add the metrics to the logs."""
        started = time.perf_counter()
        metrics = self.evaluate(self.model)
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in metrics.items()})
            logs["validation_seconds"] = time.perf_counter() - started

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return the metrics by name."""
        raise NotImplementedError


class HeldOut(_Measuring):
    """Add ``val_loss`` and ``val_accuracy`` to the logs, and with a teacher ``val_cosine`` and ``val_token_cosine``.

    The loss is the mean cross entropy in nats over all masked tokens. The accuracy is the fraction of these tokens
    that is predicted correctly. ``val_cosine`` is the mean similarity of the first tokens to the sentence embeddings
    of the teacher. ``val_token_cosine`` is the mean similarity of all tokens to the states of the teacher. Put this
    callback before the callbacks that record the logs.

    Args:
        batches: the held-out rows, not shuffled.
    """

    def __init__(self, batches: MaskedBatches) -> None:
        super().__init__()
        self.batches = batches

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return ``loss``, ``accuracy`` and with a teacher ``cosine`` and ``token_cosine``."""
        sums: dict[str, list[float]] = {}

        def add(name: str, values: torch.Tensor) -> None:
            # sums and counts, because a mean of the means of batches would weight batches of few masks too much
            total, count = sums.get(name, [0.0, 0])
            sums[name] = [total + float(values.sum()), count + len(values)]

        with torch.no_grad():
            for index in range(len(self.batches)):
                inputs, targets = self.batches[index]
                labels, teacher = split_targets(targets)
                outputs = model(inputs, training=False)
                # logits (masked, tokens), in float32 because bfloat16 has fewer than three digits
                logits, expected = outputs["logits"].float(), torch.as_tensor(labels).to(outputs["logits"].device)
                add("loss", torch.nn.functional.cross_entropy(logits, expected, reduction="none"))
                add("accuracy", (logits.argmax(dim=-1) == expected).float())
                if teacher is not None:
                    sentence, tokens = cosines_to_teacher(outputs["states"], teacher)
                    add("cosine", sentence)
                    add("token_cosine", tokens)
        return {name: total / max(1, count) for name, (total, count) in sums.items()}


class HeldOutTexts(_Measuring):
    """Add ``val_loss``, ``val_perplexity`` and ``val_bits_per_byte`` of the held-out texts to the logs.

    Put this callback before the callbacks that record the logs.

    Args:
        table: the tokens of the held-out texts.
        tokenizer: the tokenizer of these tokens. It gives the number of bytes of each token.
        batch_size: rows in a batch.
    """

    def __init__(self, table: TokenTable, tokenizer: TextTokenizer, batch_size: int) -> None:
        super().__init__()
        self.table = table
        self.batch_size = batch_size
        sizes = np.array([tokenizer.byte_length(number) for number in range(tokenizer.vocabulary_size)])
        first = table.offsets[:-1]  # the first token of a text is not predicted, so its bytes do not count
        self.size = int(sizes[table.ids].sum() - sizes[table.ids[first]].sum())

    def evaluate(self, model: Any) -> dict[str, float]:
        """Return ``loss``, ``perplexity`` and ``bits_per_byte``."""
        metrics = evaluate_table(model, self.table, self.size, self.batch_size)
        return {name: value for name, value in metrics.items() if isinstance(value, float)}
