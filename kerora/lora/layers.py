"""The mathematics of LoRA on the Dense and EinsumDense layers of Keras: forward pass, merge, unmerge.

A layer is promoted in place: its class becomes a subclass. `isinstance` checks, the graph of the model and the weights
of the layer do not change. The forward pass multiplies the activations by A and B, and never builds W + AB. A gradient
of the size of W is therefore never computed (Hu et al. 2021, arXiv:2106.09685).
"""

import functools
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
        dropout: fraction of the inputs of A that is dropped during training.
        inputs: size of the contracted input axes, flattened.
        use_rslora: whether the scale is alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732).
        magnitude: variable m of DoRA (Liu et al. 2024, arXiv:2402.09353), float32, (out,); None without DoRA.
        squares: squared column norms of the frozen kernel for DoRA, float32, (out,).
        start: the initial A and B of PiSSA, float32. Their product is part of the kernel and is subtracted.
        enabled: whether the forward pass uses the update.
        base_kernel: the original kernel while the update is merged into the kernel, else None.
        saved: the `SavedUpdate` that stands for the update in files of Keras, once it was asked for.
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
    saved: Any = None

    @property
    def rank(self) -> int:
        """Columns of A and rows of B."""
        return int(self.a.shape[1])

    @property
    def scale(self) -> float:
        """The factor of the update: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
        return lora_scale(self.alpha, self.rank, self.use_rslora)

    @property
    def variables(self) -> list[Any]:
        """The trained variables: A, B, and the magnitude with DoRA."""
        return [variable for variable in (self.a, self.b, self.magnitude) if variable is not None]

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return A (in, r) and B (r, out), float32. Their scaled product is added to the kernel of the base model.

        With PiSSA (Meng et al. 2024, arXiv:2404.02948) r is twice the rank: W - s A0 B0 + s A B.
        """
        a, b = self.a.value.float(), self.b.value.float()
        if self.start is None:
            return a, b
        first_a, first_b = self.start
        # A B - A0 B0 = [A, A0] [B; -B0]. The kernel still holds the product that the update starts from.
        return torch.cat([a, first_a], dim=1), torch.cat([b, -first_b], dim=0)

    def weight(self) -> torch.Tensor:
        """Return scale * A @ B, float32, (in, out)."""
        a, b = self.factors()
        return self.scale * (a.detach() @ b.detach())

    def column_factor(self, kernel: torch.Tensor) -> torch.Tensor:
        """Return the factor m / ||W + scale A B|| of DoRA for each column, float32, (out,).

        No gradient flows through the norm, as in the paper. The norm is computed without building W + AB: the squared
        norm of a column is ||w||^2 + 2 scale (w, Ab) + scale^2 ||Ab||^2.
        """
        with torch.no_grad():
            a, b = self.factors()
            # Both are sums over the input axis, (out,). The products have the sizes (rank, out) and (rank, rank).
            cross = ((a.T @ kernel.reshape(self.inputs, -1).float()) * b).sum(dim=0)
            square = (((a.T @ a) @ b) * b).sum(dim=0)
            assert self.squares is not None
            # Rounding can make the square of a small norm negative, and its root would be NaN.
            norm = (self.squares + 2 * self.scale * cross + self.scale**2 * square).clamp_min(1e-24).sqrt()
        return self.magnitude.value / norm


def lora_scale(alpha: float, rank: int, use_rslora: bool) -> float:
    """Return the factor of A B: alpha / rank, or alpha / sqrt(rank) with rsLoRA."""
    return alpha / (math.sqrt(rank) if use_rslora else rank)


class LoraLayer:
    """Mixin for a dense layer of Keras that adds ``scale * dropout(x) A B`` before the activation.

    An instance without an update behaves exactly like the Keras layer that it extends.
    """

    update: LowRankUpdate | None = None

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output for `inputs` (..., contracted axes of the kernel)."""
        return self._adapted_call(super().call, inputs, bool(training))  # type: ignore[misc]

    def quantized_call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output of a layer with a quantized frozen kernel. Keras calls this in place of `call`."""
        return self._adapted_call(super().quantized_call, inputs, bool(training))  # type: ignore[misc]

    def _adapted_call(self, base_call: Any, inputs: Any, training: bool) -> Any:
        update = self.update
        if update is None or not update.enabled or update.base_kernel is not None:
            # A merged kernel contains the update already.
            return base_call(inputs)
        activation = self.activation  # type: ignore[has-type]
        if activation is None or activation is keras.activations.linear:
            return self._add_update(base_call(inputs), inputs, training)
        # The update must be added before the activation, so the layer of Keras computes without its activation.
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
        # The product of a 3-D and a 2-D tensor would become a slower, broadcast batched product.
        rows = keras.ops.convert_to_tensor(inputs).reshape(-1, update.inputs).to(dtype)
        # Only the input of A is dropped. The frozen product sees all values.
        scale, dropped = update.scale, rows
        if training and update.dropout:
            dropped, kept = _dropout(rows, update.dropout)
            scale /= kept
        low, b = dropped @ update.a.value.to(dtype), update.b.value.to(dtype)
        if update.start is None and update.magnitude is None and not is_plain():
            # Without PiSSA and DoRA the update is one product that can be added in the same pass.
            return add_in_one_pass(outputs, low, b, scale)
        delta = scale * (low @ b)
        if update.start is not None:
            # PiSSA subtracts the start without dropout: the kernel contains it in full.
            delta = delta - update.scale * ((rows @ update.start[0].to(dtype)) @ update.start[1].to(dtype))
        if update.magnitude is not None:
            # DoRA scales the columns of W + AB, but not the bias.
            linear = outputs.reshape(delta.shape)
            if self.bias is not None:  # type: ignore[attr-defined]
                linear = linear - self.bias.value.reshape(-1).to(dtype)  # type: ignore[attr-defined]
            factor = update.column_factor(kernel_matrix(self, kernel_of(self).value))
            # `outputs` already holds x W + b, so only the difference from factor * (x W + update) + b is added.
            delta = (factor - 1).to(dtype) * linear + factor.to(dtype) * delta
        return outputs + delta.reshape(outputs.shape)

    def merge(self) -> None:
        """Add the update to the kernel. The forward pass is then as fast as in the base model."""
        update = self.update
        if update is None or update.base_kernel is not None:
            return
        merged = self._merged_kernel()
        # Subtracting the update again would leave rounding errors, so a copy of the kernel is kept.
        update.base_kernel = kernel_of(self).value.detach().clone()
        kernel_of(self).assign(merged)

    def unmerge(self) -> None:
        """Restore the kernel that `merge` replaced, bit for bit."""
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
        # The sum is computed in float32. A kernel in half precision is rounded only once.
        merged = kernel_matrix(self, kernel).float() + update.weight()
        if update.magnitude is not None:
            merged = merged * update.column_factor(kernel_matrix(self, kernel)).detach()
        order = kernel_order(self)
        # The inverse permutation: from the axes of the matrix to those of the kernel.
        back = [order.index(axis) for axis in range(len(order))]
        return merged.reshape([kernel.shape[axis] for axis in order]).permute(back).to(kernel.dtype)

    @property
    def lora_update(self) -> "SavedUpdate | None":
        """The part of the layer that Keras saves beside its weights, or None without an update."""
        update = self.update
        if update is None:
            return None
        if update.saved is None:
            # Kept, because Keras goes by identity.
            update.saved = SavedUpdate(self, update)
        saved: SavedUpdate = update.saved
        return saved

    def save_own_variables(self, store: Any) -> None:
        """Write the weights like the plain Keras layer, with the update merged. A and B follow in a part of their own.

        Weight files, `.keras` files and presets can therefore be loaded into plain models. Keras alone would silently
        write the kernel without the update.
        """
        # A user may have merged the updates already. They then stay merged.
        was_merged = self.update is None or self.update.base_kernel is not None
        self.merge()
        try:
            super().save_own_variables(store)  # type: ignore[misc]
        finally:
            if not was_merged:
                self.unmerge()

    def load_own_variables(self, store: Any) -> None:
        """Load the weights of a plain layer, or, if the layer has an update, its bias: `lora_update` loads the rest."""
        if self.update is None:
            super().load_own_variables(store)  # type: ignore[misc]
        elif self.bias is not None and "1" in store.keys():  # type: ignore[attr-defined]  # noqa: SIM118
            self.bias.assign(store["1"])  # type: ignore[attr-defined]


class SavedUpdate(keras.layers.Layer):
    """An update as a part of its layer in files of Keras. A plain layer ignores this part.

    Args:
        owner: the layer.
        update: its update.
    """

    def __init__(self, owner: Any, update: LowRankUpdate) -> None:
        super().__init__(name="lora_update")
        self.owner_name = owner.name
        # Through __dict__, because Keras would track the variables.
        self.__dict__["update"], self.__dict__["kernel"] = update, kernel_of(owner)
        # Not the layer itself: Keras would look for parts of this part in it.
        self.__dict__["squares"] = functools.partial(_column_squares, owner)

    def _values(self) -> dict[str, Any]:
        update: LowRankUpdate = self.__dict__["update"]
        values = {variable.name: variable.value for variable in update.variables}
        # The scale is no weight, but with another one the same A and B are another model.
        values["scale"] = torch.tensor(update.scale)
        # Subtracting the update from the merged kernel would leave rounding errors.
        kernel = self.__dict__["kernel"].value
        values["kernel"] = kernel if update.base_kernel is None else update.base_kernel
        return values if update.start is None else {**values, "start_a": update.start[0], "start_b": update.start[1]}

    def _refusal(self, store: Any) -> str | None:
        """Return what is wrong with a file, or None."""
        shapes = {key: tuple(value.shape) for key, value in self._values().items()}
        found = {key: tuple(store[key].shape) for key in store.keys()}  # noqa: SIM118  (no plain dict)
        if not found:
            return (
                f"The file holds no LoRA weights for layer '{self.owner_name}', but the model has LoRA there. Call "
                "kerora.remove_lora(model) before loading."
            )
        if found != shapes or not np.isclose(np.asarray(store["scale"]), self.__dict__["update"].scale):
            return (
                f"The LoRA weights in the file have another rank, alpha or variant than layer '{self.owner_name}'. "
                "Call enable_lora with the settings of the file."
            )
        return None

    def save_own_variables(self, store: Any) -> None:
        """Write A, B and what else the update has."""
        for name, value in self._values().items():
            store[name] = value.detach()

    def load_own_variables(self, store: Any) -> None:
        """Set the update.

        Raises:
            ConfigError: the file holds no update, or one of another rank or scale.
        """
        update = self.__dict__["update"]
        refusal = self._refusal(store)
        if refusal and not len(store.keys()):
            # Keras asks again under other names of the layer, where the file holds nothing.
            refusal = self.__dict__.get("refusal") or refusal
        self.__dict__["refusal"] = refusal
        if refusal:
            raise ConfigError(refusal)
        for variable in (*update.variables, self.__dict__["kernel"]):
            variable.assign(store[variable.name])
        # DoRA keeps the norms of the columns of the kernel.
        if update.squares is not None:
            update.squares = self.__dict__["squares"]()
        if update.start is not None:
            first, second = (torch.as_tensor(np.asarray(store[key])) for key in ("start_a", "start_b"))
            update.start = (first.to(update.a.value.device), second.to(update.a.value.device))


def _dropout(rows: torch.Tensor, rate: float) -> tuple[torch.Tensor, float]:
    """Drop a fraction of the values. Return the values and the divisor that the caller must still apply."""
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
    """Settings of the update of one layer; see `LowRankUpdate` and `kerora.lora.inject.enable_lora`."""

    rank: int
    alpha: float
    dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    pissa: bool = False


def promote(layer: Any, settings: UpdateSettings, seed: Sequence[int]) -> None:
    """Add a new low-rank update to a built Dense or EinsumDense layer. The layer may already have others.

    A is sampled from U(-1/sqrt(in), 1/sqrt(in)) with the generator of numpy, which is the same on every device. B is
    zero, so that the output of the layer does not change. With PiSSA, A and B are the largest singular vectors of the
    kernel, and their product is subtracted from the kernel.

    Raises:
        ConfigError: the einsum of the layer does not contract the last axes of the input.
    """
    inputs, outputs = matrix_shape(layer)
    rank = settings.rank
    bound = 1.0 / math.sqrt(inputs)
    # PEFT samples A from the same range: kaiming_uniform_ with a = sqrt(5).
    first = np.random.default_rng(seed).uniform(-bound, bound, (inputs, rank)).astype("float32")
    sizes: dict[str, tuple[int, ...]] = {"lora_a": (inputs, rank), "lora_b": (rank, outputs)}
    sizes |= {"lora_magnitude": (outputs,)} if settings.use_dora else {}
    with changing_weights(layer):
        variables = [
            # Without `autocast=False` a layer in bfloat16 would read the factors rounded to bfloat16.
            layer.add_weight(name=name, shape=shape, initializer="zeros", dtype="float32", autocast=False)
            for name, shape in sizes.items()
        ]
    a, b = variables[:2]
    update = LowRankUpdate(a, b, float(settings.alpha), settings.dropout, inputs, settings.use_rslora)
    a.assign(first)
    # After `a.assign`, because PiSSA replaces the random A.
    if settings.pissa:
        _start_from_kernel(layer, update)
    if settings.use_dora:
        update.squares = _column_squares(layer)
        update.magnitude = variables[2]
        # m starts as the norm of each column, so the factor of DoRA starts at one.
        update.magnitude.assign(update.squares.sqrt())
    layer.__class__ = PROMOTIONS.get(type(layer), type(layer))
    layer.update = update


def _column_squares(layer: Any) -> torch.Tensor:
    squares: torch.Tensor = kernel_matrix(layer, kernel_of(layer).value.detach()).float().square().sum(dim=0)
    return squares


def _start_from_kernel(layer: Any, update: LowRankUpdate) -> None:
    kernel = kernel_matrix(layer, kernel_of(layer).value.detach()).float()
    left, values, right = torch.linalg.svd(kernel, full_matrices=False)
    # A B times the scale is the part of the largest singular values. A and B share their root equally.
    root = (values[: update.rank] / update.scale).sqrt()
    update.a.assign(left[:, : update.rank] * root)
    update.b.assign(root[:, None] * right[: update.rank])
    # Copies, because training changes A and B in place.
    update.start = (update.a.value.detach().clone(), update.b.value.detach().clone())


def discard(layer: Any, update: LowRankUpdate) -> None:
    """Remove the variables of an update from a layer."""
    with changing_weights(layer):
        untrack(layer, update.variables)


def demote(layer: Any) -> None:
    """Remove the update from a layer and restore its Keras class."""
    # The update knows the original kernel, so this comes before the update is removed.
    layer.unmerge()
    update, layer.update = layer.update, None
    del layer.update
    if update is not None:
        discard(layer, update)
    if not getattr(layer, "stored_updates", None):  # Other adapters may still need the class.
        layer.__class__ = DEMOTIONS[type(layer)]
