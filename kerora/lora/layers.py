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

from kerora.errors import ConfigError


@dataclass
class LowRankUpdate:
    """The state of one adapted layer.

    Attributes:
        a: variable A, float32, (in, rank).
        b: variable B, float32, (rank, out).
        alpha: numerator of the scale.
        dropout: share of the low-rank path's inputs that is dropped in training.
        inputs: size of the contracted input axes, flattened.
        enabled: whether the update takes part in the forward pass.
        base_kernel: the untouched kernel while the update is merged into it, else None.
    """

    a: Any
    b: Any
    alpha: float
    dropout: float
    inputs: int
    enabled: bool = True
    base_kernel: Any = None

    @property
    def rank(self) -> int:
        """Columns of A and rows of B."""
        return int(self.a.shape[1])

    @property
    def scale(self) -> float:
        """The factor alpha / rank of the update."""
        return self.alpha / self.rank

    def weight(self) -> torch.Tensor:
        """Return scale * A @ B, float32, (in, out)."""
        return self.scale * (self.a.value.detach().float() @ self.b.value.detach().float())


class LoraLayer:
    """Mixin over a Keras dense layer that adds ``scale * dropout(x) A B`` before the activation.

    An instance without an update behaves exactly as the Keras layer that it extends.
    """

    update: LowRankUpdate | None = None
    _kernel: Any

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
        if training and update.dropout:
            # torch's generator: its state is a function of the seed and the step (see training.step)
            rows = torch.nn.functional.dropout(rows, update.dropout)
        delta = (rows @ update.a.value.to(dtype)) @ update.b.value.to(dtype)
        return outputs + (update.scale * delta).reshape(outputs.shape)

    def merge(self) -> None:
        """Add the update to the kernel; the forward pass then costs what the base costs."""
        update = self.update
        if update is None or update.base_kernel is not None:
            return
        merged = self._merged_kernel()
        update.base_kernel = self._kernel.value.detach().clone()
        self._kernel.assign(merged)

    def unmerge(self) -> None:
        """Put the kernel back that `merge` replaced, bit for bit."""
        update = self.update
        if update is not None and update.base_kernel is not None:
            self._kernel.assign(update.base_kernel)
            update.base_kernel = None

    def _merged_kernel(self) -> torch.Tensor:
        kernel: torch.Tensor = self._kernel.value.detach()
        assert self.update is not None
        order = kernel_order(self)
        weight = self.update.weight().reshape([kernel.shape[axis] for axis in order])
        back = [order.index(axis) for axis in range(len(order))]
        return (kernel.float() + weight.permute(back)).to(kernel.dtype)

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


@keras.saving.register_keras_serializable("kerora")
class LoraDense(LoraLayer, keras.layers.Dense):
    """A Dense layer that can carry a low-rank update."""


@keras.saving.register_keras_serializable("kerora")
class LoraEinsumDense(LoraLayer, keras.layers.EinsumDense):
    """An EinsumDense layer that can carry a low-rank update over its flattened kernel."""


PROMOTIONS: dict[type, type] = {keras.layers.Dense: LoraDense, keras.layers.EinsumDense: LoraEinsumDense}
DEMOTIONS = {promoted: plain for plain, promoted in PROMOTIONS.items()}


def promote(layer: Any, rank: int, alpha: float, dropout: float, seed: Sequence[int]) -> None:
    """Put a fresh low-rank update on a built Dense or EinsumDense layer.

    A is drawn from U(-1/sqrt(in), 1/sqrt(in)) with numpy's generator (the same on every
    device), B is zero, so that the layer's output does not change.

    Raises:
        ConfigError: the layer's einsum does not contract the input's last axes.
    """
    inputs, outputs = matrix_shape(layer)
    bound = 1.0 / math.sqrt(inputs)
    start = np.random.default_rng(seed).uniform(-bound, bound, (inputs, rank)).astype("float32")
    layer._tracker.unlock()
    a = layer.add_weight(name="lora_a", shape=(inputs, rank), initializer="zeros", dtype="float32", autocast=False)
    b = layer.add_weight(name="lora_b", shape=(rank, outputs), initializer="zeros", dtype="float32", autocast=False)
    layer._tracker.lock()
    a.assign(start)
    layer.__class__ = PROMOTIONS[type(layer)]
    layer.update = LowRankUpdate(a, b, float(alpha), float(dropout), inputs)


def demote(layer: Any) -> None:
    """Take the update off a layer and give it back its Keras class."""
    layer.unmerge()
    update, layer.update = layer.update, None
    del layer.update
    layer._tracker.unlock()
    for variable in (update.a, update.b):
        layer._untrack_variable(variable)
    layer._tracker.lock()
    layer.__class__ = DEMOTIONS[type(layer)]


def matrix_shape(layer: Any) -> tuple[int, int]:
    """Return the sides (in, out) of a kernel seen as a matrix.

    Raises:
        ConfigError: the einsum does not contract the input's last axes.
    """
    shape = tuple(layer.kernel.shape)
    contracted = _contracted_axes(layer)
    inputs = math.prod(shape[axis] for axis in contracted)
    return inputs, math.prod(shape) // inputs


def kernel_order(layer: Any) -> list[int]:
    """Return the kernel's axes in the order of the matrix: the contracted ones, then those of the output.

    Only Gemma's kernels, (heads, width, head size), are not in that order as they are.
    """
    contracted = _contracted_axes(layer)
    return [*contracted, *(axis for axis in range(len(layer.kernel.shape)) if axis not in contracted)]


def _contracted_axes(layer: Any) -> list[int]:
    if not isinstance(layer, keras.layers.EinsumDense):
        return [0]
    inputs, _, rest = layer.equation.replace("...", "").partition(",")
    kernel, _, output = rest.partition("->")
    contracted = [place for place, axis in enumerate(kernel) if axis not in output]
    count = len(contracted)
    summed = "".join(kernel[place] for place in contracted)
    kept = "".join(axis for axis in kernel if axis not in summed)
    if not count or summed != inputs[-count:] or output != inputs[:-count] + kept:
        raise ConfigError(
            f"Layer '{layer.path}' cannot be adapted: its einsum {layer.equation!r} does not contract "
            "the last axes of the input and put the kernel's others behind the rest. Leave it out of the targets."
        )
    return contracted
