"""The tensors of an adapter file, each with functions that read and set the matching variables of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from kerora.compat import kernel_of
from kerora.lora.layers import LowRankUpdate, lora_scale
from kerora.lora.names import Names, Owned, outputs_of

PREFIX = "base_model.model."
Array = np.ndarray


@dataclass(frozen=True)
class Entry:
    """One tensor of the adapter file.

    Attributes:
        key: its name in the file.
        shape: its shape in the file.
        read: returns the value in the model, float32.
        assign: sets the model to the value in the file, float32.
        problem: returns a description of what is wrong with a value of the right shape, or None.
    """

    key: str
    shape: tuple[int, ...]
    read: Callable[[], Array]
    assign: Callable[[Array], None]
    problem: Callable[[Array], str | None] = lambda value: None


@dataclass(frozen=True)
class Stored:
    """The update of one module as a file describes it.

    Attributes:
        module: path of the module.
        layers: the adapted layers that the module computes.
        siblings: all layers that it computes.
        rank: rank in the file: the sum over the layers of the module, and with PiSSA twice the trained rank.
        alpha: numerator of the scale in the file.
        form: form of the module's weight; see `TensorName`.
    """

    module: str
    layers: tuple[Any, ...]
    siblings: tuple[Any, ...]
    rank: int
    alpha: float
    form: str

    @property
    def fused(self) -> bool:
        """Whether the module computes several layers together."""
        return len(self.siblings) > 1


def stored_rank(update: LowRankUpdate) -> int:
    """Return the rank that a file gives an update."""
    return update.rank * (1 if update.start is None else 2)


def stored_alpha(update: LowRankUpdate) -> float:
    """Return the alpha that, with `stored_rank`, gives an update's scale."""
    return update.alpha if update.start is None else _alpha(update.scale, stored_rank(update), update.use_rslora)


def stored_updates(model: keras.Model, names: Names, layers: Sequence[Any]) -> list[Stored]:
    """Group adapted layers by module."""
    siblings = names.adaptable()
    members: dict[str, list[Any]] = {}
    for layer in layers:
        members.setdefault(names.of_layer(layer).module, []).append(layer)
    result = []
    for module, found in members.items():
        ordered = tuple(layer for layer in siblings[module] if any(layer is member for member in found))
        rank = sum(stored_rank(layer.update) for layer in ordered)
        first = ordered[0].update
        # The file gives a module one alpha. Together with the summed rank it must give the scale of the first layer.
        alpha = stored_alpha(first) if len(ordered) == 1 else _alpha(first.scale, rank, first.use_rslora)
        form = names.of_layer(ordered[0]).form
        result.append(Stored(module, ordered, tuple(siblings[module]), rank, alpha, form))
    return result


def update_entries(stored: Stored) -> list[Entry]:
    """Return the tensors of one module's update."""
    first = stored.layers[0].update
    inputs, outputs = first.inputs, sum(outputs_of(layer) for layer in stored.siblings)
    blocks = _Blocks(stored)
    key = f"{PREFIX}{stored.module}"
    entries = [
        Entry(f"{key}.lora_A.weight", (stored.rank, inputs), blocks.read_a, blocks.assign_a),
        Entry(f"{key}.lora_B.weight", (outputs, stored.rank), blocks.read_b, blocks.assign_b, blocks.problem_b),
    ]
    if first.magnitude is not None:
        entries.append(
            Entry(f"{key}.lora_magnitude_vector", (outputs,), blocks.read_magnitude, blocks.assign_magnitude)
        )
    return entries


class _Blocks:
    """A module's A, B and magnitude: one layer's, or those of several layers as one block-diagonal update.

    Layers q and v of a module that computes q, k and v have A = [A_q; A_v] and B with B_q in the rows of q and the
    columns of A_q, B_v in those of v, and zeros elsewhere: the same sums, and the same scale.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        # One module has one scale in a file. B absorbs the ratio if a layer has another scale.
        self.scale = stored.layers[0].update.scale
        # Layers without an update have rows in B, but no columns.
        ends = np.cumsum([0, *(stored_rank(layer.update) for layer in stored.layers)])
        self.columns = {id(layer): slice(ends[i], ends[i + 1]) for i, layer in enumerate(stored.layers)}
        rows = np.cumsum([0, *(outputs_of(layer) for layer in stored.siblings)])
        self.rows = {id(layer): slice(rows[i], rows[i + 1]) for i, layer in enumerate(stored.siblings)}
        self.outputs = int(rows[-1])

    def read_a(self) -> Array:
        return np.ascontiguousarray(np.concatenate([_numpy(self._factors(layer)[0]).T for layer in self.stored.layers]))

    def read_b(self) -> Array:
        value = np.zeros((self.outputs, self.stored.rank), np.float32)
        for layer in self.stored.layers:
            ratio = np.float32(layer.update.scale / self.scale)
            # (rank, out) in Keras, (out, rank) in files.
            value[self.rows[id(layer)], self.columns[id(layer)]] = _numpy(self._factors(layer)[1]).T * ratio
        return value

    def assign_a(self, value: Array) -> None:
        for layer in self.stored.layers:
            layer.update.a.assign(np.ascontiguousarray(value[self.columns[id(layer)]].T))

    def assign_b(self, value: Array) -> None:
        for layer in self.stored.layers:
            block = value[self.rows[id(layer)], self.columns[id(layer)]].T
            layer.update.b.assign(np.ascontiguousarray(block) / np.float32(layer.update.scale / self.scale))

    def problem_b(self, value: Array) -> str | None:
        # PEFT alone would add these values too. Separate layers in Keras cannot hold them.
        outside = np.ones(value.shape, bool)
        for layer in self.stored.layers:
            outside[self.rows[id(layer)], self.columns[id(layer)]] = False
        return "mixes layers that are apart in Keras" if value[outside].any() else None

    def read_magnitude(self) -> Array:
        value = np.zeros(self.outputs, np.float32)
        for layer in self.stored.siblings:
            adapted = any(layer is member for member in self.stored.layers)
            # a layer without update keeps its columns' norms: a factor of one
            value[self.rows[id(layer)]] = (
                _numpy(layer.update.magnitude.value) if adapted else _column_norms(layer, outputs_of(layer))
            )
        return value

    def assign_magnitude(self, value: Array) -> None:
        for layer in self.stored.layers:
            layer.update.magnitude.assign(value[self.rows[id(layer)]])

    @staticmethod
    def _factors(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
        factors: tuple[torch.Tensor, torch.Tensor] = layer.update.factors()
        return factors


def variable_entry(key: str, members: Sequence[Owned]) -> Entry:
    """Return the tensor of one variable, or of several that a file holds side by side."""
    axis = -1  # of a dense weight, (outputs, inputs), no part is ever fused
    shapes = [owned.file_shape for owned in members]
    shape = shapes[0] if len(members) == 1 else (*shapes[0][:-1], sum(size[-1] for size in shapes))

    def read() -> Array:
        values = [owned.to_file(_numpy(owned.variable.value)) for owned in members]
        return np.ascontiguousarray(values[0] if len(values) == 1 else np.concatenate(values, axis=axis))

    def assign(value: Array) -> None:
        ends = [int(end) for end in np.cumsum([size[-1] for size in shapes])[:-1]] if len(members) > 1 else []
        for owned, part in zip(members, np.split(value, ends, axis=axis) if ends else [value], strict=True):
            owned.variable.assign(owned.from_file(part))

    return Entry(key, shape, read, assign)


def _alpha(scale: float, rank: int, use_rslora: bool) -> float:
    return scale / lora_scale(1.0, rank, use_rslora)


def _column_norms(layer: Any, outputs: int) -> Array:
    return _numpy(torch.linalg.vector_norm(kernel_of(layer).value.detach().float().reshape(-1, outputs), dim=0))


def _numpy(value: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float32)
