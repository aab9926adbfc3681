"""The maths of LoRA on Keras' Dense and EinsumDense layers: forward, merge, unmerge.

A layer is promoted in place: its class becomes a subclass of its own, so that `isinstance`
checks, the model's graph and the layer's weights stay what they were. The low-rank path is
computed on the activations, never by building W + AB in the forward pass, so that no full-size
weight gradient is formed (Hu et al. 2021, arXiv:2106.09685).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from kerora.compat import changing_weights, kernel_of, untrack
from kerora.errors import ConfigError
from kerora.fast.dropout import dropout
from kerora.fast.products import add_in_one_pass, computed_as_products
from kerora.fast.switch import is_plain
from kerora.kernels import kernel_matrix, kernel_order, matrix_shape


@dataclass
class LowRankUpdate:
    """The state of one adapter on one layer.

    Attributes:
        a: variable A, float32, (in, rank).
        b: variable B, float32, (rank, out).
        alpha: numerator of the scale.
        dropout: share of the low-rank path's inputs that is dropped in training.
        inputs: size of the contracted input axes, flattened.
        use_rslora: whether the scale is alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732).
        magnitude: variable m of DoRA (Liu et al. 2024, arXiv:2402.09353), float32, (out,); None without.
        squares: with DoRA the squared column norms of the frozen kernel, float32, (out,).
        start: with PiSSA the first A and B, float32; what they make is part of the kernel and taken off it.
        enabled: whether the update takes part in the forward pass.
        base_kernel: the untouched kernel while the update is merged into it, else None.
    """

    a: Any
    b: Any
    alpha: float
    dropout: float
    inputs: int
    use_rslora: bool = False
    magnitude: Any = None
    squares: torch.Tensor | None = None
    start: tuple[torch.Tensor, torch.Tensor] | None = None
    enabled: bool = True
    base_kernel: Any = None

    @property
    def rank(self) -> int:
        """Columns of A and rows of B."""
        return int(self.a.shape[1])

    @property
    def scale(self) -> float:
        """The factor alpha / rank of the update, with rsLoRA alpha / sqrt(rank)."""
        return lora_scale(self.alpha, self.rank, self.use_rslora)

    @property
    def variables(self) -> list[Any]:
        """What is trained: A, B and with DoRA the magnitude."""
        return [variable for variable in (self.a, self.b, self.magnitude) if variable is not None]

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return A (in, r) and B (r, out) whose scaled product is added to the base's kernel, float32.

        With PiSSA (Meng et al. 2024, arXiv:2404.02948) r is twice the rank: W - s A0 B0 + s A B.
        """
        a, b = self.a.value.float(), self.b.value.float()
        if self.start is None:
            return a, b
        first_a, first_b = self.start
        return torch.cat([a, first_a], dim=1), torch.cat([b, -first_b], dim=0)

    def weight(self) -> torch.Tensor:
        """Return scale * A @ B, float32, (in, out)."""
        a, b = self.factors()
        return self.scale * (a.detach() @ b.detach())

    def column_factor(self, kernel: torch.Tensor) -> torch.Tensor:
        """Return DoRA's m / ||W + scale A B|| by column, float32, (out,); no gradient flows through the norm.

        The norm comes from products of rank size; W + AB is not built.
        """
        with torch.no_grad():
            a, b = self.factors()
            cross = ((a.T @ kernel.reshape(self.inputs, -1).float()) * b).sum(dim=0)
            square = (((a.T @ a) @ b) * b).sum(dim=0)
            assert self.squares is not None
            norm = (self.squares + 2 * self.scale * cross + self.scale**2 * square).clamp_min(1e-24).sqrt()
        return self.magnitude.value / norm


def lora_scale(alpha: float, rank: int, use_rslora: bool) -> float:
    """Return the factor of A B: alpha / rank, with rsLoRA alpha / sqrt(rank)."""
    return alpha / (math.sqrt(rank) if use_rslora else rank)


class LoraLayer:
    """Mixin over a Keras dense layer that adds ``scale * dropout(x) A B`` before the activation.

    An instance without an update behaves exactly as the Keras layer that it extends.
    """

    update: LowRankUpdate | None = None

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the layer's output for `inputs` (..., contracted axes of the kernel)."""
        return self._adapted_call(super().call, inputs, bool(training))  # type: ignore[misc]

    def quantized_call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output of a layer whose frozen kernel is quantised."""
        return self._adapted_call(super().quantized_call, inputs, bool(training))  # type: ignore[misc]

    def _adapted_call(self, base_call: Any, inputs: Any, training: bool) -> Any:
        update = self.update
        if update is None or not update.enabled or update.base_kernel is not None:
            return base_call(inputs)
        activation = self.activation  # type: ignore[has-type]
        if activation is None or activation is keras.activations.linear:
            return self._add_update(base_call(inputs), inputs, training)
        self.activation = None
        try:
            outputs = base_call(inputs)
        finally:
            self.activation = activation
        return activation(self._add_update(outputs, inputs, training))

    def _add_update(self, outputs: Any, inputs: Any, training: bool) -> Any:
        update = self.update
        assert update is not None
        dtype = outputs.dtype
        # two dimensions: a product of a 3-D with a 2-D tensor becomes a slower, broadcast bmm
        rows = keras.ops.convert_to_tensor(inputs).reshape(-1, update.inputs).to(dtype)
        scale, dropped = update.scale, rows
        if training and update.dropout:
            dropped, kept = _dropout(rows, update.dropout)
            scale /= kept
        low, b = dropped @ update.a.value.to(dtype), update.b.value.to(dtype)
        if update.start is None and update.magnitude is None and not is_plain():
            return add_in_one_pass(outputs, low, b, scale)
        delta = scale * (low @ b)
        if update.start is not None:
            delta = delta - update.scale * ((rows @ update.start[0].to(dtype)) @ update.start[1].to(dtype))
        if update.magnitude is not None:
            linear = outputs.reshape(delta.shape)
            if self.bias is not None:  # type: ignore[attr-defined]
                linear = linear - self.bias.value.reshape(-1).to(dtype)  # type: ignore[attr-defined]
            factor = update.column_factor(kernel_matrix(self, kernel_of(self).value))
            delta = (factor - 1).to(dtype) * linear + factor.to(dtype) * delta
        return outputs + delta.reshape(outputs.shape)

    def merge(self) -> None:
        """Add the update to the kernel; the forward pass then costs what the base costs."""
        update = self.update
        if update is None or update.base_kernel is not None:
            return
        merged = self._merged_kernel()
        update.base_kernel = kernel_of(self).value.detach().clone()
        kernel_of(self).assign(merged)

    def unmerge(self) -> None:
        """Put the kernel back that `merge` replaced, bit for bit."""
        update = self.update
        if update is not None and update.base_kernel is not None:
            kernel_of(self).assign(update.base_kernel)
            update.base_kernel = None

    def _merged_kernel(self) -> torch.Tensor:
        kernel: torch.Tensor = kernel_of(self).value.detach()
        update = self.update
        assert update is not None
        if not kernel.is_floating_point():
            raise ConfigError(
                f"The kernel of layer '{self.name}' is quantised: an update cannot be merged into it. "  # type: ignore[attr-defined]
                "Use kerora merge RUN, which dequantises."
            )
        merged = kernel_matrix(self, kernel).float() + update.weight()
        if update.magnitude is not None:
            merged = merged * update.column_factor(kernel_matrix(self, kernel)).detach()
        order = kernel_order(self)
        back = [order.index(axis) for axis in range(len(order))]
        return merged.reshape([kernel.shape[axis] for axis in order]).permute(back).to(kernel.dtype)

    def save_own_variables(self, store: Any) -> None:
        """Write the weights as the plain Keras layer would, with the update merged.

        Keras' weight files, `.keras` files and presets therefore load into plain models.
        """
        was_merged = self.update is None or self.update.base_kernel is not None
        self.merge()
        try:
            super().save_own_variables(store)  # type: ignore[misc]
        finally:
            if not was_merged:
                self.unmerge()

    def load_own_variables(self, store: Any) -> None:
        """Load plain weights; refused while a low-rank update is on the layer.

        Raises:
            ConfigError: weight files hold the update merged, so loading one below an update
                would count it twice.
        """
        if self.update is not None:
            raise ConfigError(
                f"Layer '{self.name}' has a LoRA update: weight files hold it merged, and loading one "  # type: ignore[attr-defined]
                "here would count it twice. Call kerora.remove_lora(model) first, or use kerora.load_adapter."
            )
        super().load_own_variables(store)  # type: ignore[misc]


def _dropout(rows: torch.Tensor, rate: float) -> tuple[torch.Tensor, float]:
    """Drop a share of the values; return them, and by what they are still to be divided."""
    return (torch.nn.functional.dropout(rows, rate), 1.0) if is_plain() else dropout(rows, rate)


@computed_as_products
@keras.saving.register_keras_serializable("kerora")
class LoraDense(LoraLayer, keras.layers.Dense):
    """A Dense layer that can carry a low-rank update."""


@computed_as_products
@keras.saving.register_keras_serializable("kerora")
class LoraEinsumDense(LoraLayer, keras.layers.EinsumDense):
    """An EinsumDense layer that can carry a low-rank update over its flattened kernel."""


PROMOTIONS: dict[type, type] = {keras.layers.Dense: LoraDense, keras.layers.EinsumDense: LoraEinsumDense}
DEMOTIONS = {promoted: plain for plain, promoted in PROMOTIONS.items()}


@dataclass(frozen=True)
class UpdateSettings:
    """What one layer's update is like; see `LowRankUpdate` and `kerora.lora.inject.enable_lora`."""

    rank: int
    alpha: float
    dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    pissa: bool = False


def promote(layer: Any, settings: UpdateSettings, seed: Sequence[int]) -> None:
    """Put a fresh low-rank update on a built Dense or EinsumDense layer, or another on one that has some.

    A is drawn from U(-1/sqrt(in), 1/sqrt(in)) with numpy's generator (the same on every
    device), B is zero, so that the layer's output does not change. With PiSSA they are the
    kernel's largest singular vectors, and their product is taken off the kernel.

    Raises:
        ConfigError: the layer's einsum does not contract the input's last axes.
    """
    inputs, outputs = matrix_shape(layer)
    rank = settings.rank
    bound = 1.0 / math.sqrt(inputs)
    first = np.random.default_rng(seed).uniform(-bound, bound, (inputs, rank)).astype("float32")
    sizes: dict[str, tuple[int, ...]] = {"lora_a": (inputs, rank), "lora_b": (rank, outputs)}
    sizes |= {"lora_magnitude": (outputs,)} if settings.use_dora else {}
    with changing_weights(layer):
        variables = [
            layer.add_weight(name=name, shape=shape, initializer="zeros", dtype="float32", autocast=False)
            for name, shape in sizes.items()
        ]
    a, b = variables[:2]
    update = LowRankUpdate(a, b, float(settings.alpha), settings.dropout, inputs, settings.use_rslora)
    a.assign(first)
    if settings.pissa:
        _start_from_kernel(layer, update)
    if settings.use_dora:
        update.squares = kernel_matrix(layer, kernel_of(layer).value.detach()).float().square().sum(dim=0)
        update.magnitude = variables[2]
        update.magnitude.assign(update.squares.sqrt())
    layer.__class__ = PROMOTIONS.get(type(layer), type(layer))
    layer.update = update


def _start_from_kernel(layer: Any, update: LowRankUpdate) -> None:
    kernel = kernel_matrix(layer, kernel_of(layer).value.detach()).float()
    left, values, right = torch.linalg.svd(kernel, full_matrices=False)
    root = (values[: update.rank] / update.scale).sqrt()
    update.a.assign(left[:, : update.rank] * root)
    update.b.assign(root[:, None] * right[: update.rank])
    update.start = (update.a.value.detach().clone(), update.b.value.detach().clone())


def discard(layer: Any, update: LowRankUpdate) -> None:
    """Take an update's variables off a layer."""
    with changing_weights(layer):
        untrack(layer, update.variables)


def demote(layer: Any) -> None:
    """Take the update off a layer and give it back its Keras class."""
    layer.unmerge()
    update, layer.update = layer.update, None
    del layer.update
    if update is not None:
        discard(layer, update)
    if not getattr(layer, "stored_updates", None):  # of further adapters
        layer.__class__ = DEMOTIONS[type(layer)]
