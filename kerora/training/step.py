"""One training step: forward, weighted loss, accumulation, update.

This step differs from that of Keras in three ways. Keras gives each micro-batch of an update the same weight,
even if they have different sizes. It carries a remainder over to the next epoch. It counts the learning-rate
schedule in micro-batches. This step weights gradients by examples, divides the sum by the total weight of the
examples, and ends each epoch with an update.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import torch

from kerora.compat import loss_tracker
from kerora.errors import NotFiniteError, quoted
from kerora.notices import notice

STATES_AT_ONCE = 3072 * 384
"""Numbers in the hidden states (tokens x width) that go through a model together on a CPU.

Fewer numbers need less memory, and more numbers are not faster. See benchmarks/RESULTS.md, section kerora/training.
"""
PART_MULTIPLE = 4
"""The length of a part in tokens is rounded up to a multiple of this number on a CPU.

A small multiple has less padding. A large multiple gives fewer different shapes, so that freed memory is used again.
"""


MOST_SKIPPED = 10
"""Updates in a row that `on_nan` ``skip`` leaves out before the training stops."""


class TrainStep:
    """Train step for ``TextClassifier.compile(step=...)``.

    Before each micro-batch, the random state of torch is set from `seed`, the epoch and the number of the
    micro-batch. Dropout then does not depend on earlier batches, and a resumed run needs no saved random state.

    Args:
        batches_per_epoch: number of batches in an epoch. The last batch always ends with an update.
        accumulate: number of batches per update. Default: 1.
        seed: seed of dropout. Default: 0.
        most_rows: rows that go through the model together on a GPU. A batch has more rows if its texts are divided into
            windows. Default: None, all.
        consistency: weight of the divergence of two passes with other dropout (R-Drop, Liang et al. 2021,
            arXiv:2106.14448). The outputs must be logits of classes. Default: 0, one pass.
        on_nan: what happens if a loss or a gradient is not finite: ``stop`` raises an error, ``skip`` leaves the update
            out, up to `MOST_SKIPPED` in a row. Default: ``stop``.
        rows_at: returns the ids of the rows of a batch, for messages. Default: None, messages name no rows.

    Attributes:
        skipped: number of updates that were left out.
        skipped_in_row: number of them since the last update.
    """

    def __init__(
        self,
        batches_per_epoch: int,
        accumulate: int = 1,
        seed: int = 0,
        most_rows: int | None = None,
        consistency: float = 0.0,
        on_nan: str = "stop",
        rows_at: Callable[[int], Sequence[str]] | None = None,
    ) -> None:
        self.batches_per_epoch = batches_per_epoch
        self.on_nan = on_nan
        self.rows_at = rows_at
        self.skipped = self.skipped_in_row = 0
        self.most_rows = most_rows
        self.consistency = consistency
        self.accumulate = accumulate
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._pending_weight = 0.0
        self._dropped = False

    @property
    def updates_per_epoch(self) -> int:
        """Number of updates in an epoch, including the update of the remainder."""
        return -(-self.batches_per_epoch // self.accumulate)

    @property
    def at_update(self) -> bool:
        """Whether no gradient is waiting for an update."""
        # the rest of an update that is left out still belongs to it
        return self._pending_weight == 0.0 and not self._dropped

    def move_to(self, epoch: int, position: int = 0) -> None:
        """Go to batch `position` of an epoch, and forget gradients that wait for an update."""
        self.epoch, self.position, self._pending_weight, self._dropped = epoch, position, 0.0, False

    def train_step(self, model: keras.Model, data: Any) -> dict[str, Any]:
        """Train on one batch. `keras.Model.fit` calls this.

        Raises:
            NotFiniteError: the loss or a gradient is not finite, and `on_nan` is ``stop`` or too many updates in a
                row were left out. The weights are still those of the last update.
        """
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        # with plain Keras no callback moves the step, so it finds the end of an epoch itself
        if self.position >= self.batches_per_epoch:
            self.move_to(self.epoch + 1)
        if self.at_update:
            clear_gradients(model)
        seed_draws(mix(self.seed, self.epoch, self.position))
        logs: dict[str, Any] = {}
        tokens = max(1, STATES_AT_ONCE // getattr(getattr(model, "backbone", None), "hidden_dim", 1))
        ends = (self.position + 1) % self.accumulate == 0 or self.position + 1 >= self.batches_per_epoch
        try:
            if not self._dropped:
                for part in row_parts(x, y, weights, tokens, self.most_rows):
                    logs = self._add_gradient(model, *part)
                if ends:
                    self._update(model)
        except NotFiniteError as error:
            self._drop(model, error)
        self.position += 1
        if ends:
            self._dropped = False
        return logs or model.get_metrics_result()

    def _drop(self, model: keras.Model, error: NotFiniteError) -> None:
        """Forget the gradients of this update, or raise the error."""
        if self.on_nan == "stop":
            raise error
        if not self.skipped:
            notice(f"{str(error).partition('. ')[0]}. This update is left out (--on-nan skip).")
        self.skipped += 1
        self.skipped_in_row += 1
        if self.skipped_in_row >= MOST_SKIPPED:
            raise NotFiniteError(f"{self.skipped_in_row} updates in a row were left out (--on-nan skip). {error}")
        clear_gradients(model)
        self._pending_weight, self._dropped = 0.0, True

    def _add_gradient(self, model: keras.Model, x: Any, y: Any, weights: Any) -> dict[str, Any]:
        predictions = model(x, training=True)
        loss = model.compute_loss(x=x, y=y, y_pred=predictions, sample_weight=weights, training=True)
        if self.consistency:
            # Other random numbers than in the first pass: dropout draws on.
            second = model(x, training=True)
            other = model.compute_loss(x=x, y=y, y_pred=second, sample_weight=weights, training=True)
            loss = (loss + other) / 2 + self.consistency * divergence(predictions, second, weights)
        if not torch.isfinite(loss):
            raise self._not_finite(f"The loss became {loss.item()}", first=self.position)
        # The loss is a weighted mean. Times the total weight it is a sum, which can be added up over parts and batches.
        total = float(len(keras.tree.flatten(y)[0])) if weights is None else float(weights.sum())
        model.optimizer.scale_loss(loss * total).backward()
        self._pending_weight += total
        loss_tracker(model).update_state(loss.detach(), sample_weight=total)
        # detached, so that no metric keeps the graph of the step in memory
        detached = keras.tree.map_structure(lambda output: output.detach(), predictions)
        return model.compute_metrics(x, y, detached, sample_weight=weights)

    def _update(self, model: keras.Model) -> None:
        variables = model.trainable_weights
        scale = 1.0 / max(self._pending_weight, 1e-12)
        # weights of an output that the loss does not use have no gradient
        gradients = [
            torch.zeros_like(variable.value) if variable.value.grad is None else variable.value.grad * scale
            for variable in variables
        ]
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        # the loss scaler of a float16 run expects infinite gradients: it skips the update and lowers its scale
        if not scaled and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            first = self.position // self.accumulate * self.accumulate
            raise self._not_finite("A gradient became infinite or not a number", first)
        with torch.no_grad():
            model.optimizer.apply(gradients, variables)
        clear_gradients(model)
        self._pending_weight, self.skipped_in_row = 0.0, 0

    def _not_finite(self, what: str, first: int) -> NotFiniteError:
        """Return the error. `first` is the first batch that can be the cause."""
        rows = (
            []
            if self.rows_at is None
            else [id for place in range(first, self.position + 1) for id in self.rows_at(place)]
        )
        named = f" (rows {quoted(rows)})" if rows else ""
        return NotFiniteError(
            f"{what} at epoch {self.epoch + 1}, batch {self.position + 1}{named}. "
            "Lower --learning-rate, keep --clip-norm above 0, or use --precision float32."
        )


def divergence(first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return the symmetric KL divergence of two predictions, a weighted mean over the rows: half of both directions.

    Args:
        first: logits (rows, classes).
        second: logits (rows, classes) of the same rows.
        weights: weights of the rows (rows,), or None.
    """
    one, two = (torch.nn.functional.log_softmax(logits.float(), dim=-1) for logits in (first, second))
    # KL(p || q) + KL(q || p) = sum((p - q) (log p - log q))
    rows = ((one.exp() - two.exp()) * (one - two)).sum(dim=-1) / 2
    return rows.mean() if weights is None else (rows * weights).sum() / weights.sum().clamp(min=1e-12)


def row_parts(
    x: Any, y: Any, weights: Any, tokens: int, most_rows: int | None = None
) -> Iterator[tuple[Any, Any, Any]]:
    """Cut a batch of tokens into parts. The sum of their gradients is the gradient of the batch.

    Each part is cut to its longest row. If the rows of a batch are sorted by length, this removes padding. A batch
    without ``padding_mask`` is one part, and so is one on a GPU of at most `most_rows` rows.

    Args:
        x: inputs by name, with ``padding_mask`` (rows, length).
        y: targets (rows, ...).
        weights: weights (rows, ...), or None.
        tokens: most tokens in a part, including padding, on a CPU. A part has at least one row.
        most_rows: most rows in a part on a GPU, or None.
    """
    mask = x.get("padding_mask") if isinstance(x, Mapping) else None
    # pre-training has flat targets over all rows, which cannot be cut by rows
    aligned = all(len(value) == len(mask) for value in keras.tree.flatten((x, y))) if mask is not None else False
    on_gpu = torch.cuda.is_available()
    if mask is None or not aligned or (on_gpu and len(mask) <= (most_rows or len(mask))):
        yield x, y, weights
        return
    # (rows, length), 1 for tokens
    mask = keras.ops.convert_to_numpy(mask)
    rows, length = mask.shape
    parts = -(-rows // (most_rows if on_gpu and most_rows else max(1, tokens // length)))
    size = -(-rows // parts)  # parts of about equal size
    for start in range(0, rows, size):
        part = slice(start, start + size)
        # last column with a token, or 0 if the part has none, so that one column is left
        last = int(mask[part].any(axis=0).nonzero()[0].max(initial=0))
        longest = -(-(last + 1) // PART_MULTIPLE) * PART_MULTIPLE

        def cut(value: Any, rows: slice = part, longest: int = longest) -> Any:
            if value is None:
                return None
            return value[rows, :longest] if value.ndim > 1 and value.shape[1] == length else value[rows]

        def cut_targets(value: Any, rows: slice = part, cut: Any = cut) -> Any:
            # Numbers to predict, (rows, targets), have no padding. Their count can be that of the tokens by chance.
            return value[rows] if value is not None and value.ndim == 2 and _is_floating(value) else cut(value)

        x_part, weights_part = keras.tree.map_structure(cut, (x, weights))
        yield x_part, keras.tree.map_structure(cut_targets, y), weights_part


def _is_floating(value: Any) -> bool:
    return bool(keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)))


def clear_gradients(model: keras.Model) -> None:
    """Remove the gradients of all trained weights."""
    # Not with `model.zero_grad`: it clears the torch parameters, a list that Keras makes when it builds the
    # model. LoRA weights that were added later are not in it, and their gradients would add up.
    for variable in model.trainable_weights:
        variable.value.grad = None


def seed_draws(seed: int) -> None:
    """Seed the random numbers of torch."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        # without a GPU torch.manual_seed records a stack trace for CUDA at each call, which takes about a millisecond
        torch.default_generator.manual_seed(seed)


def mix(seed: int, epoch: int, position: int) -> int:
    """Return a seed for the random numbers of one step."""
    # Different for every (seed, epoch, position) of a real run. Neighbouring steps get seeds that are far apart.
    # 2,654,435,761 is near 2^32 / golden ratio (Knuth, multiplicative hashing). The mask keeps the seed positive.
    return (seed * 1_000_003 + epoch) * 1_000_003 * 31 + position * 2_654_435_761 & 0x7FFF_FFFF_FFFF_FFFF
