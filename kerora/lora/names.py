"""Names of the variables of a model in adapter files.

A model that knows the names of transformers has `tensor_names`, a mapping from variable path to `TensorName`. The task
models of Kerora have it. For other models the names are the Keras paths with dots in place of slashes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerora.compat import kernel_of, own_variables
from kerora.errors import AdapterError
from kerora.kernels import kernel_order, matrix_shape
from kerora.lora.select import all_layers, can_adapt


@dataclass(frozen=True)
class TensorName:
    """The name and form of a variable in a file.

    Attributes:
        module: path of its module, such as ``bert.encoder.layer.0.attention.self.query``.
        name: ``weight``, ``bias`` or another name inside the module.
        form: ``dense`` weights are (outputs, inputs), ``conv`` weights (inputs, outputs), all others as in Keras. A
            file cannot hold a variable of the form ``none``.
        part: (number, count) if the tensor in the file holds `count` variables together, else None.
    """

    module: str
    name: str
    form: str = "dense"
    part: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        """Name of the tensor."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Owned:
    """A variable, the layer it belongs to, and its name in files."""

    variable: Any
    layer: Any
    name: TensorName

    def to_file(self, value: np.ndarray) -> np.ndarray:
        """Bring a value of the variable to the form it has in files."""
        if self.name.name == "bias":
            # Biases of attention have the axes (heads, size) in Keras, and one axis in files.
            return value.reshape(-1)
        if self.name.form not in ("dense", "conv") or value.ndim < 2:
            return value
        if can_adapt(self.layer):
            # (in, out), whatever the axes of the kernel are.
            value = value.transpose(kernel_order(self.layer)).reshape(matrix_shape(self.layer))
        return value.T if self.name.form == "dense" else value

    def from_file(self, value: np.ndarray) -> np.ndarray:
        """Bring a file's tensor to the variable's form."""
        if self.name.name != "bias" and self.name.form == "dense" and value.ndim == 2:
            value = value.T
        shape = tuple(self.variable.shape)
        if self.name.name == "bias" or self.name.form not in ("dense", "conv") or not can_adapt(self.layer):
            return np.ascontiguousarray(value).reshape(shape)
        order = kernel_order(self.layer)
        sides = np.ascontiguousarray(value).reshape([shape[axis] for axis in order])
        # `argsort` of a permutation is its inverse.
        return np.ascontiguousarray(sides.transpose(np.argsort(order)))

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in files, without other parts."""
        # A broadcast zero has the shape without the memory of the weight.
        return self.to_file(np.broadcast_to(np.float32(0), tuple(self.variable.shape))).shape


class Names:
    """The names of all variables of a model.

    Args:
        model: any built Keras model.
        keras_paths: go by Keras paths even where the model knows other names.
    """

    def __init__(self, model: keras.Model, keras_paths: bool = False) -> None:
        given: Mapping[str, TensorName] = {} if keras_paths else getattr(model, "tensor_names", {})
        self._by_path: dict[str, Owned] = {}
        self._by_key: dict[str, list[Owned]] = {}
        for layer in all_layers(model):
            # A and B have entries of their own; see `kerora.lora.entries`.
            updates = {id(variable) for update in _updates(layer) for variable in update.variables}
            for variable in own_variables(layer):
                if id(variable) in updates or not _is_weight(variable):
                    continue
                name = given.get(variable.path)
                if name is None:
                    # With a table of names, a weight that it lacks has no name in transformers.
                    name = TensorName(str(variable.path), "", "none") if given else _from_path(variable)
                # where the head replaces a layer of the backbone that has the same path, the head's comes last
                self._by_path[variable.path] = Owned(variable, layer, name)
        for owned in self._by_path.values():
            self._by_key.setdefault(owned.name.key, []).append(owned)

    def __iter__(self) -> Any:
        """Iterate over all variables, in the order of the model."""
        return iter(self._by_path.values())

    def of(self, variable: Any) -> Owned:
        """Return the name of a variable.

        Raises:
            AdapterError: files cannot hold it.
        """
        owned = self._by_path[variable.path]
        if owned.name.form == "none":
            raise AdapterError(
                f"'{variable.path}' has no counterpart in transformers, so that an adapter file cannot hold it. "
                "Do not train it, or use --method full."
            )
        return owned

    def of_layer(self, layer: Any) -> TensorName:
        """Return the name of an adaptable layer's kernel."""
        return self.of(kernel_of(layer)).name

    def with_key(self, key: str) -> list[Owned]:
        """Return the variables that a file's tensor holds, by their part; empty where there is none."""
        found = self._by_key.get(key, [])
        return sorted(found, key=lambda owned: owned.name.part or (0, 1))

    def adaptable(self) -> dict[str, list[Any]]:
        """Return the layers that can carry an update, by module; several where a module computes several."""
        modules: dict[str, list[Any]] = {}
        for owned in self._by_path.values():
            if can_adapt(owned.layer) and owned.variable is kernel_of(owned.layer) and owned.name.form != "none":
                modules.setdefault(owned.name.module, []).append(owned)
        return {
            module: [owned.layer for owned in sorted(members, key=lambda owned: owned.name.part or (0, 1))]
            for module, members in modules.items()
        }


def outputs_of(layer: Any) -> int:
    """Return the number of outputs of an adaptable layer, flattened."""
    return matrix_shape(layer)[1]


def _updates(layer: Any) -> list[Any]:
    stored = getattr(layer, "stored_updates", {}).values()
    update = getattr(layer, "update", None)
    return [*stored, *([] if update is None else [update])]


def _is_weight(variable: Any) -> bool:
    # States of dropout, and scales of kernels that Keras quantized.
    return variable.name not in ("seed_generator_state", "kernel_scale", "kernel_zero", "g_idx")


def _from_path(variable: Any) -> TensorName:
    module, _, name = str(variable.path).rpartition("/")
    kernel = name == "kernel"
    return TensorName(module.replace("/", "."), "weight" if kernel else name, "dense" if kernel else "plain")
