"""The weights of a model that differ from its base, by name, with what is needed to read them into another model.

They are the trained weights, and those that were changed since the base was loaded. Everything else is in the files of
the base. The values are those in memory, so that a loaded model has the same outputs bit for bit. Adapter files
(`kerora.lora.files`) are for other tools: they hold names of transformers, and PiSSA with twice the rank.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch

from kerora.compat import state_of
from kerora.errors import AdapterError, ConfigError
from kerora.lora.inject import install, lora_layers
from kerora.lora.layers import LoraLayer, LowRankUpdate, UpdateSettings
from kerora.lora.quantize import quantised_layers
from kerora.lora.select import all_layers, can_adapt, layer_path

START = ("start_a", "start_b")
"""Names of the initial A and B of PiSSA beside those of a layer."""


def settings_of(update: LowRankUpdate) -> UpdateSettings:
    """Return the settings that an update was made with."""
    return UpdateSettings(
        rank=update.rank,
        alpha=update.alpha,
        dropout=update.dropout,
        use_rslora=update.use_rslora,
        use_dora=update.magnitude is not None,
        pissa=update.start is not None,
    )


def updates_of(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Return the settings of the update of each adapted layer, by the path of the layer.

    Raises:
        ConfigError: the updates are merged into the kernels.
    """
    layers = lora_layers(model)
    if any(layer.update.base_kernel is not None for layer in layers):
        raise ConfigError("The LoRA updates are merged. Call model.unmerge() or kerora.unmerge_lora(model) first.")
    return {layer_path(layer): dataclasses.asdict(settings_of(layer.update)) for layer in layers}


def install_updates(model: keras.Model, updates: Mapping[str, Mapping[str, Any]], trained: Sequence[str]) -> None:
    """Add updates to a model without LoRA, and set which weights are trained.

    Args:
        model: the model.
        updates: what `updates_of` returned.
        trained: keys of the trained weights; see `keyed`.

    Raises:
        AdapterError: the model lacks a layer or a weight.
    """
    layers = {layer_path(layer): layer for layer in all_layers(model) if can_adapt(layer)}
    absent = next((path for path in updates if path not in layers), None)
    if absent is not None:
        raise AdapterError(f"The model has no layer '{absent}' to adapt: it belongs to another base model.")
    if updates:
        install(model, [(layers[path], UpdateSettings(**values)) for path, values in updates.items()], "none", [])
    variables = keyed(model)
    wanted = set(trained)
    for key, variable in variables.items():
        variable.trainable = key in wanted


def keyed(model: keras.Model) -> dict[str, Any]:
    """Return the weights of a model by path, without those of adapters that are not active."""
    active = {id(variable) for layer in lora_layers(model) for variable in layer.update.variables}
    others = {id(variable) for variable in _update_variables(model)} - active
    found: dict[str, Any] = {}
    for variable in model.weights:
        if id(variable) in others:
            continue
        # A head that replaces the pooler of the backbone has its path too.
        repeats = sum(key.partition("#")[0] == variable.path for key in found) if variable.path in found else 0
        found[f"{variable.path}#{repeats}" if repeats else variable.path] = variable
    return found


def note_base(model: Any) -> None:
    """Note the weights of the backbone as those of its files. What differs later is part of `changed_weights`."""
    # Through __dict__, because Keras would track the dictionary.
    model.__dict__["_base_states"] = {id(variable): state_of(variable) for variable in model.backbone.weights}


def changed_weights(model: keras.Model) -> dict[str, Any]:
    """Return the weights that are trained, or that changed since `note_base`, by key."""
    base: dict[int, Any] = model.__dict__.get("_base_states", {})
    variables = keyed(model)
    return {
        key: variable
        for key, variable in variables.items()
        if variable.trainable or base.get(id(variable)) != state_of(variable)
    }


def quantized_mode(model: keras.Model) -> str | None:
    """Return how the kernels are quantised, int8 or int4, or None."""
    return next((str(layer.quantization_mode) for layer in quantised_layers(model)), None)


def state_values(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the values of `changed_weights`, and of the start of PiSSA."""
    values = {key: keras.ops.convert_to_numpy(variable.value) for key, variable in changed_weights(model).items()}
    for layer in lora_layers(model):
        if layer.update.start is not None:
            starts = zip(START, layer.update.start, strict=True)
            values |= {f"{layer_path(layer)}/{name}": value.cpu().numpy() for name, value in starts}
    return values


def set_state(
    model: keras.Model, updates: Mapping[str, Mapping[str, Any]], values: Mapping[str, np.ndarray], source: str
) -> None:
    """Set the values that `state_values` returned. Nothing is set if something does not fit.

    Args:
        model: a model on the same base, with the same updates.
        updates: the updates of the model that was saved.
        values: the values by key.
        source: what is read, for messages.

    Raises:
        AdapterError: the updates of the model, or the names or shapes of its weights, are others.
    """
    _check_updates(updates, updates_of(model), source)
    variables = keyed(model)
    layers = {layer_path(layer): layer for layer in lora_layers(model)}
    starts = {key: value for key, value in values.items() if key.rpartition("/")[2] in START}
    plain = {key: value for key, value in values.items() if key not in starts}
    faults = [f"the model has no weight {key}" for key in plain if key not in variables]
    faults += [
        f"{key} has shape {value.shape}, needs {tuple(variables[key].shape)}"
        for key, value in plain.items()
        if key in variables and value.shape != tuple(variables[key].shape)
    ]
    base: dict[int, Any] = model.__dict__.get("_base_states", {})
    # Weights outside the file must be those of the base, which the saved model had there.
    faults += [
        f"{key} is not in it, and was changed in this model"
        for key, variable in variables.items()
        if key not in plain and base.get(id(variable)) != state_of(variable)
    ]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise AdapterError(
            f"{source} does not fit this model: {'; '.join(faults[:3])}{more}. Load it into a new model."
        )
    for key, value in plain.items():
        variables[key].assign(value)
    for path, layer in layers.items():
        if layer.update.start is not None:
            first, second = (torch.as_tensor(starts[f"{path}/{name}"]) for name in START)
            layer.update.start = tuple(part.to(layer.update.a.value.device) for part in (first, second))


def _check_updates(saved: Mapping[str, Any], here: Mapping[str, Any], source: str) -> None:
    if saved and not here:
        first = next(iter(saved.values()))
        names = ",".join(dict.fromkeys(path.rpartition("/")[2] for path in saved))
        raise AdapterError(
            f"{source} holds LoRA weights, but the model has no LoRA. Call "
            f'model.enable_lora({first["rank"]}, alpha={first["alpha"]:g}, targets="{names}") before loading.'
        )
    if here and not saved:
        raise AdapterError(
            f"{source} holds no LoRA weights, but the model has LoRA. Call kerora.remove_lora(model) before loading."
        )
    if set(saved) != set(here):
        other = next(iter(set(saved) ^ set(here)))
        where = "the file" if other in saved else "the model"
        raise AdapterError(f"{source} adapts other layers than the model: '{other}' has LoRA in {where} alone.")
    for path, settings in saved.items():
        for name, value in settings.items():
            # The dropout changes no output.
            if name != "dropout" and here[path].get(name) != value:
                raise AdapterError(
                    f"{source} has LoRA with {name}={value} on '{path}', but the model has {name}="
                    f"{here[path].get(name)}. Call enable_lora with the value of the file."
                )


def _update_variables(model: keras.Model) -> list[Any]:
    found = []
    for layer in all_layers(model):
        if isinstance(layer, LoraLayer):
            updates = [*getattr(layer, "stored_updates", {}).values(), layer.update]
            found += [variable for update in updates if update is not None for variable in update.variables]
    return found
