"""Products with frozen kernels that share their input, each with its low-rank update, in few passes over memory.

Query, key and value of an attention layer take the same input. Layer by layer, autograd records a product, a sum and a
copy for each and adds up three gradients of the input, each in memory of its own. Here one function of autograd does
all: updates are added into the outputs in place, and the gradient of the input is summed by the products themselves.
The layers of one input also share the values that dropout zeroes, which are drawn once.

What it brings is measured in `kerora.models.blocks`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kerora.lora.layers import PROMOTIONS, LowRankUpdate, keep_mask, kernel_order, matrix_shape

PART_NUMBERS = 1 << 18
"""Inputs of an update that go through dropout together: 1 MB in float32.

A step of GPT-2's shapes, 8 x 256 tokens, float32, two cores (AVX2), medians of seven by turns: 11.9 s so, 12.2 s with
all inputs together, 12.4 s with a product for each update.
"""


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
        places, ranks, joined = _joined_updates(factors)
        low = None if joined is None else _low_products(rows, kept, joined)
        lows = [] if low is None else low.split(ranks, 1)
        outputs = [rows @ kernel if bias is None else torch.addmm(bias, rows, kernel) for kernel, bias in frozen]
        for place, values in zip(places, lows, strict=True):
            b = factors[2 * place + 1]
            assert b is not None
            outputs[place].addmm_(values, b, alpha=scales[place])
        inputs = (None, None) if low is None else (rows, kept)
        context.save_for_backward(*inputs, low, *factors)
        context.kernels, context.scales = [kernel for kernel, _ in frozen], scales
        return tuple(outputs)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        rows, kept, low, *factors = context.saved_tensors
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
            slopes = _through_dropout(rows, kept, low_gradient, joined, result)
            for place, part in zip(places, slopes.split(ranks, 1), strict=True):
                found[2 * place] = part
        return result, None, None, None, *found


def _joined_updates(
    factors: Sequence[torch.Tensor | None],
) -> tuple[list[int], list[int], torch.Tensor | None]:
    """Return which projections have an update, their ranks, and their A side by side, (in, sum of ranks)."""
    updates = {place: a for place, a in enumerate(factors[::2]) if a is not None}
    joined = torch.cat(list(updates.values()), 1) if updates else None
    return list(updates), [a.shape[1] for a in updates.values()], joined


def _low_products(rows: torch.Tensor, kept: torch.Tensor | None, joined: torch.Tensor) -> torch.Tensor:
    """Return ``dropout(rows) joined``, (rows, sum of ranks)."""
    if kept is None:
        return rows @ joined
    low = rows.new_empty(len(rows), joined.shape[1])
    for part in _parts(rows, kept):
        torch.mm(torch.where(kept[part], rows[part], 0), joined, out=low[part])
    return low


def _through_dropout(
    rows: torch.Tensor,
    kept: torch.Tensor | None,
    low_gradient: torch.Tensor,
    joined: torch.Tensor,
    result: torch.Tensor | None,
) -> torch.Tensor:
    """Add to `result` what reaches the rows through the updates, and return the gradient of their A."""
    gradient = torch.zeros_like(joined)
    for part in _parts(rows, kept):
        slopes = low_gradient[part]
        dropped = rows[part] if kept is None else torch.where(kept[part], rows[part], 0)
        gradient.addmm_(dropped.T, slopes)
        if result is None:
            continue
        if kept is None:
            result[part].addmm_(slopes, joined.T)
        else:
            result[part].addcmul_(slopes @ joined.T, kept[part])
    return gradient


def _parts(rows: torch.Tensor, kept: torch.Tensor | None) -> Iterator[slice]:
    """Cut (rows, in) so that what dropout leaves of a part stays in a CPU's cache; all rows together elsewhere."""
    size = max(1, PART_NUMBERS // rows.shape[1])
    # a sum over parts would round half precision anew
    if kept is None or rows.device.type != "cpu" or rows.dtype != torch.float32:
        size = max(1, len(rows))
    for start in range(0, len(rows), size):
        yield slice(start, start + size)


def _sum_of_products(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> torch.Tensor:
    total = left[0] @ right[0]
    for factor, other in zip(left[1:], right[1:], strict=True):
        total.addmm_(factor, other)
    return total
