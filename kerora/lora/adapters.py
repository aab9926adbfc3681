"""Several adapters on one base model: switched in place, or mixed by row in one forward pass.

Each adapter has its own updates (`LoraLayer.stored_updates`) and its own values of the weights that are trained in
full: head, biases, other modules. A switch only exchanges references. It does not copy or change a weight of the base.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kerora.compat import own_variables, point_at
from kerora.errors import AdapterError, ConfigError
from kerora.lora.entries import PREFIX
from kerora.lora.files import adapter_folder, load_adapter, read_adapter_config
from kerora.lora.inject import lora_layers
from kerora.lora.layers import LowRankUpdate
from kerora.lora.names import Names
from kerora.lora.select import all_layers
from kerora.lora.temperature import read_temperature
from kerora.lora.tensors import WEIGHTS_FILE, read_tensors

BASE = None
"""Name of the state without any adapter."""


@dataclass
class State:
    """The data of one adapter.

    Attributes:
        updates: layer and its update.
        values: variable and its value (a torch tensor) while the adapter is active.
        trainable: the variables that are trained with it.
        classes: class names of its head, or None if the model has none.
        temperature: divides its logits before the softmax. Of the active adapter, the model holds it.
        head_state: what its head needs beside the weights, as the attribute `head_state` of a model; or None.
    """

    updates: list[tuple[Any, LowRankUpdate]] = field(default_factory=list)
    values: list[tuple[Any, torch.Tensor]] = field(default_factory=list)
    trainable: list[Any] = field(default_factory=list)
    classes: tuple[str, ...] | None = None
    temperature: float = 1.0
    head_state: Any = None


class Adapters:
    """The adapters of a model by name.

    Args:
        model: a task model, with or without LoRA. Its LoRA becomes the adapter ``default``.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.states: dict[str | None, State] = {}
        self.active: str | None = BASE
        classes = getattr(model, "classes", None)
        # The base has no updates. `_note_base` adds the values of weights that adapters change.
        self.states[BASE] = State(classes=classes, head_state=getattr(model, "head_state", None))
        layers = lora_layers(model)
        if not layers:
            return
        if any(layer.update.base_kernel is not None for layer in layers):
            raise ConfigError("The LoRA updates are merged. Call model.unmerge() first.")
        self.active = "default"
        self.states["default"] = self._collect(classes)
        self._note_base({id(variable): base for variable, base in self._base_values()})

    def load(self, directory: str | Path, name: str) -> None:
        """Load another adapter. The active adapter does not change."""
        if name in self.states or not name:
            raise ConfigError(f"There is an adapter '{name}' already. Choose another name.")
        before, folder = self.active, adapter_folder(directory)
        # `load_adapter` adds new updates only to a model without active ones.
        self.activate(BASE)
        saved: dict[int, Any] = {}
        # A failed load calls `remove_lora`, which forgets which weights were trainable at first.
        original = self.model.__dict__.get("_kerora_trainable")
        classes = self.states[BASE].classes
        try:
            description = read_adapter_config(folder)
            tensors = read_tensors(folder / WEIGHTS_FILE, description.get("kerora", {}).get("sha256"))
            temperature = read_temperature(folder)
            # `load_adapter` assigns in place. Own tensors protect the values of the base and of other adapters.
            saved = self._give_own_tensors(description, tensors)
            load_adapter(self.model, folder)
            self._set_temperature(temperature)
            classes = getattr(self.model, "classes", None)
            self.states[name] = self._collect(classes)
            self._note_base({key: value for key, (_, value) in saved.items()})
        except AdapterError:
            for variable, value in saved.values():
                point_at(variable, value)
            if original is not None:
                self.model.__dict__["_kerora_trainable"] = original
            raise
        finally:
            # The new updates are active after a load. `activate` must know it to turn them off.
            self.active = name if name in self.states else BASE
            self.activate(before)

    def _collect(self, classes: tuple[str, ...] | None) -> State:
        """Make a state from the current updates and trained values of the model."""
        updates = [(layer, layer.update) for layer in lora_layers(self.model)]
        for layer, update in updates:
            # They show that A and B of inactive adapters are no weights of the base, and keep the class of the layer.
            layer.__dict__.setdefault("stored_updates", {})[id(update)] = update
        mine = {id(variable) for _, update in updates for variable in update.variables}
        trained = list(self.model.trainable_variables)
        # Each update has its own A and B, so a switch need not exchange their values.
        values = [(v, v.value) for v in trained if id(v) not in mine]
        head_state = getattr(self.model, "head_state", None)
        return State(updates, values, trained, classes, head_state=head_state)

    def _note_base(self, values: dict[int, torch.Tensor]) -> None:
        """Store the base values of weights for which an adapter has its own values."""
        # A later switch must undo what any adapter changed, so the base holds a value for all of these weights.
        known = {id(variable) for variable, _ in self.states[BASE].values}
        for state in self.states.values():
            for variable, value in state.values:
                if id(variable) not in known:
                    known.add(id(variable))
                    self.states[BASE].values.append((variable, values.get(id(variable), value)))

    def _base_values(self) -> list[tuple[Any, torch.Tensor]]:
        """Read the base values of weights that the first adapter trained in full. The head has no base values."""
        heads = {id(v) for layer in getattr(self.model, "head_layers", ()) for v in layer.variables}
        changed = [v for v, _ in self.states["default"].values if id(v) not in heads]
        if not changed or not hasattr(self.model, "preset"):
            return []
        # Training overwrote these weights in place, so only the files of the preset hold the base values.
        backbone = self.model.preset.load_backbone(self.model.backbone.dtype_policy.name)
        origins = {variable.path: variable for variable in backbone.variables}
        return [(variable, origins[variable.path].value) for variable in changed]

    def _give_own_tensors(
        self, description: dict[str, Any], tensors: dict[str, np.ndarray]
    ) -> dict[int, tuple[Any, torch.Tensor]]:
        """Give new tensors to the weights that a file holds in full. Return these weights with the base tensors."""
        names = Names(self.model, description.get("kerora", {}).get("method", "lora") != "lora")
        # PEFT writes the bias of an adapted layer as `base_layer.bias`.
        keys = {key.removeprefix(PREFIX).replace(".base_layer.", ".") for key in tensors if ".lora_" not in key}
        found = {id(owned.variable): owned.variable for key in keys for owned in names.with_key(key)}
        heads = [v for layer in getattr(self.model, "head_layers", ()) for v in layer.variables]
        found |= {id(variable): variable for variable in heads}
        saved = {key: (variable, variable.value) for key, variable in found.items()}
        for variable in found.values():
            # A Parameter, as Keras makes it. `activate` turns on the gradient of trained weights.
            point_at(variable, torch.nn.Parameter(variable.value.detach().clone(), requires_grad=False))
        if hasattr(self.model, "classes"):
            self._resize_head(self._classes_of(description, tensors))
        return saved

    def activate(self, name: str | None) -> None:
        """Make the model compute with one adapter, or, with None, as the base model."""
        if name not in self.states:
            known = ", ".join(f"'{known}'" for known in self.states if known is not None) or "none"
            raise ConfigError(f"There is no adapter '{name}'. Loaded: {known}.")
        old, new = self.states[self.active], self.states[name]
        old.temperature = self.temperature_of(self.active)
        self._set_temperature(new.temperature)
        for layer, update in old.updates:
            # Writing to __dict__ skips the tracking in the `__setattr__` of Keras.
            layer.__dict__["update"] = None
            for variable in update.variables:
                variable.trainable = False
        for variable in old.trainable:
            variable.trainable = False
        # The base values come first: they undo the values of the old adapter that the new one does not have.
        for variable, value in (*self.states[BASE].values, *new.values):
            point_at(variable, value)
        for layer, update in new.updates:
            layer.__dict__["update"] = update
        for variable in new.trainable:
            variable.trainable = True
        self.active = name
        if new.classes is not None:
            self.model.classes = new.classes
        if new.head_state is not None:
            self.model.head_state = new.head_state

    def temperature_of(self, name: str | None) -> float:
        """Return the number that divides the logits of an adapter before the softmax."""
        return getattr(self.model, "temperature", 1.0) if name == self.active else self.states[name].temperature

    def _set_temperature(self, value: float) -> None:
        # only a classifier has one
        if hasattr(self.model, "temperature"):
            self.model.temperature = value

    @contextlib.contextmanager
    def mixed(self, rows: Sequence[str | None]) -> Iterator[None]:
        """Inside the block, compute row i of a batch with the adapter ``rows[i]``. Narrower heads end in -inf."""
        groups: dict[str | None, list[int]] = {}
        for number, name in enumerate(rows):
            if name not in self.states:
                self.activate(name)  # This raises the error with the known names.
            groups.setdefault(name, []).append(number)
        # A layer that no adapter changes computes all rows together.
        touched = {id(layer): layer for state in self.states.values() for layer, _ in state.updates}
        owned = {id(variable) for state in self.states.values() for variable, _ in state.values}
        touched |= {
            id(layer): layer for layer in all_layers(self.model) if any(id(v) in owned for v in own_variables(layer))
        }
        order = [(name, torch.tensor(numbers)) for name, numbers in groups.items()]
        before = self.active
        self.activate(BASE)
        try:
            for layer in touched.values():
                # Keras calls `quantized_call` instead of `call` on a quantized layer.
                method = "call" if layer.quantization_mode is None else "quantized_call"
                # The attribute of the instance hides the method of the class. `pop` restores the method.
                layer.__dict__[method] = self._by_group(layer, getattr(layer, method), order, len(rows))
            yield
        finally:
            for layer in touched.values():
                layer.__dict__.pop("call", None)
                layer.__dict__.pop("quantized_call", None)
            self.activate(before)

    def _by_group(
        self, layer: Any, call: Callable[..., Any], order: list[tuple[str | None, torch.Tensor]], count: int
    ) -> Callable[..., Any]:
        own = {id(variable) for variable in own_variables(layer)}
        states = {
            name: (
                next((update for found, update in self.states[name].updates if found is layer), None),
                [item for item in (*self.states[BASE].values, *self.states[name].values) if id(item[0]) in own],
            )
            for name, _ in order
        }
        base = [item for item in self.states[BASE].values if id(item[0]) in own]

        def split(inputs: Any, *arguments: Any, **named: Any) -> Any:
            # A layer that sees something else than the batch cannot be divided by rows.
            if inputs.shape[0] != count:
                raise ConfigError(f"adapter names {count} rows, but '{layer.name}' gets {inputs.shape[0]}.")
            parts = []
            for name, numbers in order:
                update, values = states[name]
                for variable, value in values:
                    point_at(variable, value)
                layer.__dict__["update"] = update
                parts.append(call(inputs[numbers.to(inputs.device)], *arguments, **named))
            layer.__dict__["update"] = None
            for variable, value in base:
                point_at(variable, value)
            width = max(part.shape[-1] for part in parts)
            # After a softmax, -inf gives a class that an adapter does not have the probability 0.
            outputs = parts[0].new_full((count, *parts[0].shape[1:-1], width), -torch.inf)
            for (_, numbers), part in zip(order, parts, strict=True):
                outputs[numbers.to(outputs.device), ..., : part.shape[-1]] = part
            return outputs

        return split

    def _classes_of(self, description: dict[str, Any], tensors: dict[str, np.ndarray]) -> tuple[str, ...]:
        classes = description.get("kerora", {}).get("classes")
        if classes is not None:
            return tuple(classes)
        # PEFT stores no class names. The rows of the weight (classes, width) give their number.
        weight = tensors.get(f"{PREFIX}{self.model.preset.architecture.head.logits}.weight", np.zeros((0, 0)))
        return tuple(f"LABEL_{number}" for number in range(weight.shape[0]))

    def _resize_head(self, classes: tuple[str, ...]) -> None:
        self.model.classes = classes
        # The last layer of the head is `logits`. The classes are the last axis of its kernel and bias.
        for variable in self.model.head_layers[-1].variables:
            shape = (*variable.shape[:-1], len(classes))
            if tuple(variable.shape) != shape:
                empty = torch.zeros(shape, device=variable.value.device)
                point_at(variable, torch.nn.Parameter(empty, requires_grad=False))
