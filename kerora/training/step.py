"""One training step: forward, weighted loss, accumulation, update.

Keras' own step averages over micro-batches whatever their sizes, lets a remainder run into the
next epoch, and counts the learning-rate schedule in micro-batches. This one sums gradients
weighted by examples, divides by the examples' total weight, and ends each epoch with an update.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import torch

from kerora.compat import loss_tracker
from kerora.errors import TrainingError

STATES_AT_ONCE = 3072 * 384
"""Numbers in the hidden states, tokens x width, that go through a model together on a CPU.

all-MiniLM-L6-v2, AG News, 1,200 rows in batches of 32, float32, two cores (AVX2): 1,024, 2,048, 4,096 and all tokens of
a batch at once took 35.6, 33.5, 31.3 and 34.0 s, with a peak of 880, 1,065, 1,175 and 1,638 MB. With 3,600 rows for
two epochs, one run each: 3,584 tokens 212 s and 1,383 MB, 3,072 tokens 195 s and 1,261 MB.
"""
PART_MULTIPLE = 4
"""Tokens to which the width of a part is rounded up on a CPU.

With 3,600 rows as above, one run each, 3,072 tokens at once: 1, 4 and 8 took 203, 187 and 195 s, with a peak of 1,691,
1,383 and 1,261 MB. Less padding against freed memory of another shape, which the next part cannot take.
"""


class TrainStep:
    """Train step for ``TextClassifier.compile(step=...)``.

    Before each micro-batch, torch's random state is set from `seed` and the micro-batch's number,
    so that dropout does not depend on what ran before: a resumed run needs no saved random state.

    Args:
        batches_per_epoch: batches in an epoch; the last one always ends with an update.
        accumulate: batches whose gradients make up one update; default 1.
        seed: seed of dropout; default 0.
    """

    def __init__(self, batches_per_epoch: int, accumulate: int = 1, seed: int = 0) -> None:
        self.batches_per_epoch = batches_per_epoch
        self.accumulate = accumulate
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._pending_weight = 0.0

    @property
    def updates_per_epoch(self) -> int:
        """Updates in an epoch, the remainder's included."""
        return -(-self.batches_per_epoch // self.accumulate)

    @property
    def at_update(self) -> bool:
        """Whether no gradient is waiting for an update."""
        return self._pending_weight == 0.0

    def move_to(self, epoch: int, position: int = 0) -> None:
        """Go to batch `position` of an epoch, with no gradient waiting."""
        self.epoch, self.position, self._pending_weight = epoch, position, 0.0

    def train_step(self, model: keras.Model, data: Any) -> dict[str, Any]:
        """Train on one batch; called by `keras.Model.fit`.

        Raises:
            TrainingError: the loss or a gradient is not finite; the weights are still those of
                the update before.
        """
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        if self.position >= self.batches_per_epoch:
            self.move_to(self.epoch + 1)
        if self.at_update:
            _clear_gradients(model)
        torch.manual_seed(_mix(self.seed, self.epoch, self.position))
        logs: dict[str, Any] = {}
        tokens = max(1, STATES_AT_ONCE // getattr(getattr(model, "backbone", None), "hidden_dim", 1))
        for part in row_parts(x, y, weights, tokens):
            logs = self._add_gradient(model, *part)
        self.position += 1
        if self.position % self.accumulate == 0 or self.position >= self.batches_per_epoch:
            self._update(model)
        return logs

    def _add_gradient(self, model: keras.Model, x: Any, y: Any, weights: Any) -> dict[str, Any]:
        predictions = model(x, training=True)
        loss = model.compute_loss(x=x, y=y, y_pred=predictions, sample_weight=weights, training=True)
        if not torch.isfinite(loss):
            raise self._not_finite(f"The loss became {loss.item()}")
        total = float(len(keras.tree.flatten(y)[0])) if weights is None else float(weights.sum())
        model.optimizer.scale_loss(loss * total).backward()
        self._pending_weight += total
        loss_tracker(model).update_state(loss.detach(), sample_weight=total)
        detached = keras.tree.map_structure(lambda output: output.detach(), predictions)
        return model.compute_metrics(x, y, detached, sample_weight=weights)

    def _update(self, model: keras.Model) -> None:
        variables = model.trainable_weights
        scale = 1.0 / max(self._pending_weight, 1e-12)
        # an output that nothing looks at gives its weights no gradient
        gradients = [
            torch.zeros_like(variable.value) if variable.value.grad is None else variable.value.grad * scale
            for variable in variables
        ]
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        # a float16 run's scaler expects infinities: it skips the update and lowers its scale
        if not scaled and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise self._not_finite("A gradient became infinite or not a number")
        with torch.no_grad():
            model.optimizer.apply(gradients, variables)
        _clear_gradients(model)
        self._pending_weight = 0.0

    def _not_finite(self, what: str) -> TrainingError:
        return TrainingError(
            f"{what} at epoch {self.epoch + 1}, batch {self.position + 1}. "
            "Lower --learning-rate, keep --clip-norm above 0, or use --precision float32."
        )


def row_parts(x: Any, y: Any, weights: Any, tokens: int) -> Iterator[tuple[Any, Any, Any]]:
    """Cut a batch of tokens into parts whose gradients add up to the batch's; other batches, and those on a GPU, stay.

    Each part is cut to its longest row, so that rows of a batch that are sorted by length lose padding too.

    Args:
        x: inputs by name, with ``padding_mask`` (rows, length).
        y: targets (rows, ...).
        weights: weights (rows, ...), or None.
        tokens: tokens in a part, padding included, or one row.
    """
    mask = x.get("padding_mask") if isinstance(x, Mapping) else None
    aligned = all(len(value) == len(mask) for value in keras.tree.flatten((x, y))) if mask is not None else False
    if not aligned or torch.cuda.is_available():
        yield x, y, weights
        return
    mask = keras.ops.convert_to_numpy(mask)
    rows, length = mask.shape
    parts = -(-rows // max(1, tokens // length))
    size = -(-rows // parts)  # so that they are of like size
    for start in range(0, rows, size):
        part = slice(start, start + size)
        last = int(mask[part].any(axis=0).nonzero()[0].max(initial=0))
        longest = -(-(last + 1) // PART_MULTIPLE) * PART_MULTIPLE

        def cut(value: Any, rows: slice = part, longest: int = longest) -> Any:
            if value is None:
                return None
            return value[rows, :longest] if value.ndim > 1 and value.shape[1] == length else value[rows]

        yield keras.tree.map_structure(cut, (x, y, weights))


def _clear_gradients(model: keras.Model) -> None:
    # over the weights themselves: Keras' zero_grad clears torch parameters, a list that misses
    # weights added after the model was built
    for variable in model.trainable_weights:
        variable.value.grad = None


def _mix(seed: int, epoch: int, position: int) -> int:
    # distinct for every (seed, epoch, position) of a real run, and far apart for torch's generator
    return (seed * 1_000_003 + epoch) * 1_000_003 * 31 + position * 2_654_435_761 & 0x7FFF_FFFF_FFFF_FFFF
