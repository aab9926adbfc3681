"""Products with frozen kernels that share their input, each with its low-rank update, in few passes over memory.

Query, key and value of an attention layer take the same input. Layer by layer, autograd records a product, a sum and a
copy for each and adds up three gradients of the input, each in memory of its own. Here one function of autograd does
all: updates are added into the outputs in place, and the gradient of the input is summed by the products themselves.
The layers of one input also share the values that dropout zeroes, which are drawn once.

What it brings is measured in `kerora.models.blocks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kerora.lora.layers import PROMOTIONS, LowRankUpdate, keep_mask, kernel_order, matrix_shape


@dataclass(frozen=True)
class Projection:
    """A frozen dense layer as a matrix, and the update that it carries.

    Attributes:
        kernel: (in, out), in the dtype of the arithmetic.
        bias: (out,), or None.
        update: a plain low-rank update that takes part, or None.
    """

    kernel: torch.Tensor
    bias: torch.Tensor | None
    update: LowRankUpdate | None


def projection_of(layer: Any, dtype: torch.dtype) -> Projection | None:
    """Return a layer as a projection; None where only its own `call` computes it.

    That is so for quantised kernels, layers that train kernel or bias, DoRA, PiSSA, kernels whose axes are in another
    order, layers whose `call` was replaced, and classes other than Dense and EinsumDense.

    Args:
        layer: any layer.
        dtype: dtype of the arithmetic.
    """
    if type(layer) not in _CLASSES or "call" in layer.__dict__ or layer.quantization_mode is not None:
        return None
    kernel, bias = layer._kernel.value, None if layer.bias is None else layer.bias.value
    order = kernel_order(layer)
    if order != sorted(order) or kernel.requires_grad or (bias is not None and bias.requires_grad):
        return None
    update: LowRankUpdate | None = getattr(layer, "update", None)
    if update is not None and (not update.enabled or update.base_kernel is not None):
        update = None
    if update is not None and (update.magnitude is not None or update.start is not None):
        return None
    matrix = kernel.detach().reshape(matrix_shape(layer)).to(dtype)
    return Projection(matrix, None if bias is None else bias.detach().reshape(-1).to(dtype), update)


_CLASSES = {*PROMOTIONS, *PROMOTIONS.values()}


def frozen_products(
    rows: torch.Tensor, projections: Sequence[Projection], training: bool = False
) -> tuple[torch.Tensor, ...]:
    """Return ``rows W + b + scale * dropout(rows) A B`` of each projection, (rows, out), differentiable.

    Gradients reach `rows`, A and B.

    Args:
        rows: (rows, in).
        projections: kernels of the same `in`; their dropout rates are equal.
        training: whether dropout takes part.
    """
    updates = [projection.update for projection in projections]
    rates = {update.dropout for update in updates if update is not None}
    kept, divisor = None, 1.0
    if training and any(rates):
        kept, divisor = keep_mask(rows, max(rates))
    scales = [0.0 if update is None else update.scale / divisor for update in updates]
    variables = [(None, None) if update is None else (update.a, update.b) for update in updates]
    factors = [None if factor is None else factor.value.to(rows.dtype) for pair in variables for factor in pair]
    frozen = [(projection.kernel, projection.bias) for projection in projections]
    outputs: tuple[torch.Tensor, ...] = _FrozenProducts.apply(rows, kept, frozen, scales, *factors)
    return outputs


def share_dropout(projections: Sequence[Projection]) -> bool:
    """Tell whether the updates of projections of one input have one dropout rate."""
    return len({projection.update.dropout for projection in projections if projection.update is not None}) <= 1


class _FrozenProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        rows: torch.Tensor,
        kept: torch.Tensor | None,
        frozen: list[tuple[torch.Tensor, torch.Tensor | None]],
        scales: list[float],
        *factors: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...]:
        updated = any(factor is not None for factor in factors)
        dropped = torch.where(kept, rows, 0) if updated and kept is not None else rows
        outputs: list[torch.Tensor] = []
        lows: list[torch.Tensor | None] = []
        for (kernel, bias), scale, a, b in zip(frozen, scales, factors[::2], factors[1::2], strict=True):
            output = rows @ kernel if bias is None else torch.addmm(bias, rows, kernel)
            low = None if a is None else dropped @ a
            if low is not None:
                assert b is not None
                output.addmm_(low, b, alpha=scale)
            outputs.append(output)
            lows.append(low)
        inputs = (rows, kept) if updated else (None, None)
        context.save_for_backward(*inputs, *lows, *factors)
        context.kernels, context.scales = [kernel for kernel, _ in frozen], scales
        return tuple(outputs)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        count = len(gradients)
        rows, kept, *saved = context.saved_tensors
        lows, factors = saved[:count], saved[count:]
        wanted = context.needs_input_grad[0]
        result = _sum_of_products(gradients, [kernel.T for kernel in context.kernels]) if wanted else None
        found: list[torch.Tensor | None] = [None] * len(factors)
        places = [place for place in range(count) if factors[2 * place] is not None]
        if places:
            dropped = rows if kept is None else torch.where(kept, rows, 0)
            through = []
            for place in places:
                a, b = factors[2 * place : 2 * place + 2]
                low_gradient = (gradients[place] @ b.T).mul_(context.scales[place])
                found[2 * place] = dropped.T @ low_gradient
                found[2 * place + 1] = (lows[place].T @ gradients[place]).mul_(context.scales[place])
                through.append((low_gradient, a.T))
            if result is not None:
                delta = _sum_of_products(*zip(*through, strict=True))
                result = result.add_(delta) if kept is None else result.addcmul_(delta, kept)
        return result, None, None, None, *found


def _sum_of_products(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> torch.Tensor:
    total = left[0] @ right[0]
    for factor, other in zip(left[1:], right[1:], strict=True):
        total.addmm_(factor, other)
    return total
