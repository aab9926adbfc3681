"""Products of one input with several frozen kernels and their low-rank updates, in few passes over memory.

Query, key and value of an attention layer have the same input. Layer by layer, autograd records a product, a sum and a
copy for each of them, and adds three gradients of the input in separate memory. Here one autograd function computes all
of them: it adds the updates to the outputs in place, and the products sum the gradient of the input. The layers of one
input also share one dropout mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import torch

from kerora.fast.dropout import apply_dropout, draw_dropped, zero_
from kerora.kernels import kernel_order, matrix_shape


class Update(Protocol):
    """The part of `kerora.lora.layers.LowRankUpdate` that the products need."""

    a: Any
    b: Any
    dropout: float
    magnitude: Any
    start: Any
    enabled: bool
    base_kernel: Any

    @property
    def scale(self) -> float:
        """The factor of A B."""
        ...


@dataclass(frozen=True)
class Projection:
    """A frozen dense layer as a matrix, with its update.

    Attributes:
        kernel: (in, out), in the dtype of the arithmetic.
        bias: (out,), or None.
        update: an active plain low-rank update, or None.
    """

    kernel: torch.Tensor
    bias: torch.Tensor | None
    update: Update | None


def projection_of(layer: Any, dtype: torch.dtype) -> Projection | None:
    """Return a layer as a projection, or None if its own `call` must compute it.

    The result is None for quantized kernels, trained kernels or biases, DoRA, PiSSA, kernels whose axes are in another
    order, layers whose `call` was replaced, and classes other than Dense and EinsumDense.

    Args:
        layer: any layer.
        dtype: dtype of the arithmetic.
    """
    # `kerora.lora.adapters` puts a `call` on the instance to compute each row with its own adapter.
    if type(layer) not in _CLASSES or "call" in layer.__dict__ or layer.quantization_mode is not None:
        return None
    kernel, bias = layer._kernel.value, None if layer.bias is None else layer.bias.value
    order = kernel_order(layer)
    if order != sorted(order) or kernel.requires_grad or (bias is not None and bias.requires_grad):
        return None
    update: Update | None = getattr(layer, "update", None)
    # With `base_kernel` set, the kernel already holds the update.
    if update is not None and (not update.enabled or update.base_kernel is not None):
        update = None
    if update is not None and (update.magnitude is not None or update.start is not None):
        return None
    matrix = kernel.detach().reshape(matrix_shape(layer)).to(dtype)
    return Projection(matrix, None if bias is None else bias.detach().reshape(-1).to(dtype), update)


_CLASSES: set[type] = {keras.layers.Dense, keras.layers.EinsumDense}


def matrix_layers() -> set[type]:
    """Return the classes of layers that are a product with a kernel, apart from their ``update``."""
    return _CLASSES


def computed_as_products(layer: type) -> type:
    """Decorator that marks a layer class: it differs from Dense or EinsumDense only by its ``update``."""
    _CLASSES.add(layer)
    return layer


def frozen_products(
    rows: torch.Tensor, projections: Sequence[Projection], training: bool = False
) -> tuple[torch.Tensor, ...]:
    """Return ``rows W + b + scale * dropout(rows) A B`` of each projection, (rows, out), differentiable.

    Gradients reach `rows`, A and B.

    Args:
        rows: (rows, in).
        projections: kernels of the same `in`; their dropout rates are equal.
        training: whether dropout is active.
    """
    updates = [projection.update for projection in projections]
    rates = {update.dropout for update in updates if update is not None}
    dropped, divisor = draw_dropped(rows, max(rates)) if training and any(rates) else (None, 1.0)
    # The divisor of dropout goes into the scale, which saves a pass over the rows.
    scales = [0.0 if update is None else update.scale / divisor for update in updates]
    frozen = [(projection.kernel, projection.bias) for projection in projections]
    outputs: tuple[torch.Tensor, ...] = _FrozenProducts.apply(
        rows, dropped, frozen, scales, *factors_of(projections, rows.dtype)
    )
    return outputs


def factors_of(projections: Sequence[Projection], dtype: torch.dtype) -> list[torch.Tensor | None]:
    """Return A and B of each projection in order. A projection without an update gives None twice."""
    updates = [projection.update for projection in projections]
    variables = [(None, None) if update is None else (update.a, update.b) for update in updates]
    return [None if variable is None else variable.value.to(dtype) for pair in variables for variable in pair]


def add_in_one_pass(outputs: torch.Tensor, low: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """Return ``outputs + scale * low b``: product, scale and sum in one pass over the outputs.

    Args:
        outputs: (..., out axes).
        low: (rows, rank).
        b: (rank, out).
        scale: factor of the product.
    """
    return torch.addmm(outputs.reshape(-1, b.shape[1]), low, b, alpha=scale).reshape(outputs.shape)


def share_dropout(projections: Sequence[Projection]) -> bool:
    """Tell whether the updates of projections of one input have one dropout rate."""
    return len({projection.update.dropout for projection in projections if projection.update is not None}) <= 1


class _FrozenProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        rows: torch.Tensor,
        dropped: torch.Tensor | None,
        frozen: list[tuple[torch.Tensor, torch.Tensor | None]],
        scales: list[float],
        *factors: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...]:
        places, ranks, joined = _joined_updates(factors)
        inputs = low = None
        if joined is not None:
            inputs = apply_dropout(rows, dropped)
            low = inputs @ joined  # (rows, sum of ranks)
        lows = dict(zip(places, [] if low is None else low.split(ranks, 1), strict=True))
        outputs = [
            add_to_product(rows, kernel, start_of_product(bias, lows.get(place), factors[2 * place + 1], scales[place]))
            for place, (kernel, bias) in enumerate(frozen)
        ]
        context.save_for_backward(inputs, dropped, low, *factors)
        context.kernels, context.scales = [kernel for kernel, _ in frozen], scales
        return tuple(outputs)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        inputs, dropped, low, *factors = context.saved_tensors
        wanted = context.needs_input_grad[0]
        result = _sum_of_products(gradients, [kernel.T for kernel in context.kernels]) if wanted else None
        found: list[torch.Tensor | None] = [None] * len(factors)
        places, ranks, joined = _joined_updates(factors)
        if joined is not None:
            low_gradient = torch.empty_like(low)
            parts = zip(places, low.split(ranks, 1), low_gradient.split(ranks, 1), strict=True)
            for place, values, part in parts:
                torch.mm(gradients[place], factors[2 * place + 1].T, out=part).mul_(context.scales[place])
                found[2 * place + 1] = (values.T @ gradients[place]).mul_(context.scales[place])
            # The gradient of all A in one product, because their inputs are the same.
            for place, part in zip(places, (inputs.T @ low_gradient).split(ranks, 1), strict=True):
                found[2 * place] = part
            if result is not None:
                add_through_dropout(result, low_gradient, joined, dropped)
        return result, None, None, None, *found


def start_of_product(
    bias: torch.Tensor | None, low: torch.Tensor | None, b: torch.Tensor | None, scale: float
) -> torch.Tensor | None:
    """Return ``bias + scale * low b``, (rows, out); the bias (out,) without an update; None with neither of them.

    One small product writes both to the output memory in one pass. Adding the bias separately would need another pass.
    """
    if low is None or b is None:
        return bias
    if bias is None:
        return low @ (scale * b)
    # A column of ones adds the bias as one more row of B.
    return torch.cat([low, low.new_ones(len(low), 1)], 1) @ torch.cat([scale * b, bias[None]])


def add_to_product(rows: torch.Tensor, kernel: torch.Tensor, start: torch.Tensor | None) -> torch.Tensor:
    """Return ``start + rows kernel``. A `start` of shape (rows, out) is overwritten."""
    if start is None:
        return rows @ kernel
    return start.addmm_(rows, kernel) if start.ndim == 2 else torch.addmm(start, rows, kernel)


def add_through_dropout(
    result: torch.Tensor, grad: torch.Tensor, a: torch.Tensor, dropped: torch.Tensor | None
) -> None:
    """Add the gradient through dropout and A, (in, rank), to the gradient of an input in place."""
    # The scale in `grad` already contains the divisor of dropout.
    if dropped is None:
        result.addmm_(grad, a.T)
    else:
        result.add_(zero_(grad @ a.T, dropped))


def _joined_updates(
    factors: Sequence[torch.Tensor | None],
) -> tuple[list[int], list[int], torch.Tensor | None]:
    """Return the numbers of the projections with an update, their ranks, and their A joined, (in, sum of ranks)."""
    updates = {place: a for place, a in enumerate(factors[::2]) if a is not None}
    joined = torch.cat(list(updates.values()), 1) if updates else None
    return list(updates), [a.shape[1] for a in updates.values()], joined


def _sum_of_products(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> torch.Tensor:
    total = left[0] @ right[0]
    for factor, other in zip(left[1:], right[1:], strict=True):
        total.addmm_(factor, other)
    return total
