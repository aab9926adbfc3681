"""The feed-forward part of a transformer block with frozen kernels, computed for some features at a time.

The inner width is usually four times the outer width. Layer by layer, a tensor of the inner width leaves the cache of
the CPU before the next layer reads it, and a product with such a wide output is slower than several narrow products.
Here one autograd function computes the first product, the activation, the dropout and the second product for some inner
features, and adds the result to the outputs. The gradients are computed in the same way.
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch

from kerora.fast.dropout import apply_dropout, draw_dropped, zero_
from kerora.fast.products import Projection, add_through_dropout, add_to_product, factors_of, start_of_product

PART_NUMBERS = 1 << 19
"""Numbers (rows x features) in a part on a CPU: 2 MB in float32."""
LEAST_FEATURES = 256
"""Smallest number of features in a part, because narrower products are slow."""
FEATURE_MULTIPLE = 64
"""The features of a part are a multiple of this, so that each part starts at a cache line."""


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its gradient.

    Attributes:
        forward: from inputs to outputs.
        backward: from the gradient of the outputs (it may be overwritten) and the inputs to the gradient of the inputs.
    """

    forward: Callable[[torch.Tensor], torch.Tensor]
    backward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _gelu(approximate: str) -> Activation:
    def backward(gradient: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        # Writing into the gradient saves another tensor of the inner width.
        return torch.ops.aten.gelu_backward.grad_input(gradient, inputs, approximate=approximate, grad_input=gradient)

    return Activation(functools.partial(torch.nn.functional.gelu, approximate=approximate), backward)


_KNOWN = (
    _gelu("tanh"),
    _gelu("none"),
    Activation(torch.relu, lambda gradient, inputs: gradient.masked_fill_(inputs <= 0, 0)),
)


@functools.lru_cache(maxsize=256)
def known_activation(function: Callable[[Any], Any]) -> Activation | None:
    """Return an activation with its gradient, or None if it is not GELU or ReLU.

    It is recognised by its values, because the activations of KerasHub are lambdas without a name.

    Args:
        function: maps a tensor to a tensor.
    """
    with torch.no_grad():
        # The values must be equal bit for bit, so that a similar function does not pass as GELU.
        found = function(torch.linspace(-6, 6, 121))
        inputs = torch.linspace(-6, 6, 121).to(found.device)
        return next((known for known in _KNOWN if torch.equal(known.forward(inputs), found)), None)


def frozen_feed_forward(
    rows: torch.Tensor, inner: Projection, outer: Projection, activation: Activation, training: bool = False
) -> torch.Tensor:
    """Return ``outer(activation(inner(rows)))``, (rows, out), differentiable.

    Gradients reach `rows` and the A and B of both updates.

    Args:
        rows: (rows, in).
        inner: kernel (in, features).
        outer: kernel (features, out).
        activation: between the two.
        training: whether dropout is active.
    """
    rates = [0.0 if not training or one.update is None else one.update.dropout for one in (inner, outer)]
    dropped, divisor = draw_dropped(rows, rates[0]) if rates[0] else (None, 1.0)
    scale = 0.0 if inner.update is None else inner.update.scale / divisor
    plan = _Plan(inner, outer, activation, scale, rates[1], torch.is_grad_enabled())
    output: torch.Tensor = _FrozenFeedForward.apply(rows, dropped, plan, *factors_of((inner, outer), rows.dtype))
    return output


@dataclass(frozen=True)
class _Plan:
    inner: Projection
    outer: Projection
    activation: Activation
    inner_scale: float
    outer_dropout: float
    differentiable: bool

    def drop_(self, values: torch.Tensor) -> tuple[torch.Tensor | None, float]:
        """Apply the dropout of the outer update in place. Return the dropped values and the divisor of the others."""
        if not self.outer_dropout:
            return None, 1.0
        dropped, divisor = draw_dropped(values, self.outer_dropout)
        zero_(values, dropped)
        return dropped, divisor

    def parts(self, rows: torch.Tensor) -> Iterator[slice]:
        """Divide the features into parts that fit into the cache of a CPU. On other devices there is one part."""
        features = size = self.inner.kernel.shape[1]
        # In half precision each addition of a part would round the sum again.
        if rows.device.type == "cpu" and rows.dtype == torch.float32:
            fitting = PART_NUMBERS // max(1, len(rows)) // FEATURE_MULTIPLE * FEATURE_MULTIPLE
            size = max(LEAST_FEATURES, fitting)
        for start in range(0, features, size):
            yield slice(start, start + size)


class _FrozenFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, rows: torch.Tensor, dropped: torch.Tensor | None, plan: _Plan, *factors: Any
    ) -> torch.Tensor:
        a, b, outer_a, outer_b = factors
        inputs = None if a is None else apply_dropout(rows, dropped)
        low = None if inputs is None else inputs @ a
        outer_low: Any = None
        # `add_to_product` replaces the bias by a tensor (rows, out) in the first part, and adds in place from then on.
        output: Any = plan.outer.bias
        divisor = 1.0
        saved: list[torch.Tensor | None] = []
        for part in plan.parts(rows):
            bias = None if plan.inner.bias is None else plan.inner.bias[part]
            start = start_of_product(bias, low, None if b is None else b[:, part], plan.inner_scale)
            inside = add_to_product(rows, plan.inner.kernel[:, part], start)
            active = plan.activation.forward(inside)
            # The second product reads the values before `drop_` changes them in place.
            output = add_to_product(active, plan.outer.kernel[part], output)
            drawn = None
            if outer_a is not None:
                drawn, divisor = plan.drop_(active)
                outer_low = add_to_product(active, outer_a[part], outer_low)
            if plan.differentiable:
                saved += [inside, None if outer_a is None else active, drawn]
        context.plan, context.outer_scale = plan, 0.0
        if plan.outer.update is not None:
            # The divisor depends only on the rate, so it is the same in all parts.
            context.outer_scale = plan.outer.update.scale / divisor
            output.addmm_(outer_low, outer_b, alpha=context.outer_scale)
        context.save_for_backward(inputs, dropped, low, outer_low, *factors, *saved)
        return cast(torch.Tensor, output)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        plan: _Plan = context.plan
        inputs, dropped, low, outer_low, a, b, outer_a, outer_b, *saved = context.saved_tensors
        grads: list[Any] = [None if factor is None else torch.empty_like(factor) for factor in (a, b, outer_a, outer_b)]
        grad_a, grad_b, grad_outer_a, grad_outer_b = grads
        result: Any = None
        low_slopes: Any = None
        if outer_low is not None:
            # (rows, rank of the outer update)
            outer_slopes = (gradient @ outer_b.T).mul_(context.outer_scale)
            torch.mm(outer_low.T, gradient, out=grad_outer_b).mul_(context.outer_scale)
        for number, part in enumerate(plan.parts(gradient)):
            inside, active, drawn = saved[3 * number : 3 * number + 3]
            inner_gradient = gradient @ plan.outer.kernel[part].T
            if outer_low is not None:
                torch.mm(active.T, outer_slopes, out=grad_outer_a[part])
                add_through_dropout(inner_gradient, outer_slopes, outer_a[part], drawn)
            inner_gradient = plan.activation.backward(inner_gradient, inside)
            if context.needs_input_grad[0]:
                result = add_to_product(inner_gradient, plan.inner.kernel[:, part].T, result)
            if low is not None:
                grad_b[:, part] = (low.T @ inner_gradient).mul_(plan.inner_scale)
                low_slopes = add_to_product(inner_gradient, b[:, part].T, low_slopes)
        if low is not None:
            torch.mm(inputs.T, low_slopes.mul_(plan.inner_scale), out=grad_a)
            if result is not None:
                add_through_dropout(result, low_slopes, a, dropped)
        return result, None, None, *grads
