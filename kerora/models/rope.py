"""Reads how a Hugging Face config spells rotary position embeddings (Su et al. 2021, arXiv:2104.09864).

Up to version 4 transformers wrote ``rope_theta`` beside ``rope_scaling``, whose kind was ``type`` and then
``rope_type``. Version 5 writes all of it as ``rope_parameters``, for each kind of layer where these differ. KerasHub's
converters overlook some of that without a word, so it is handed to them or refused here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerora.errors import PresetError
from kerora.models.architectures import Architecture


def rope_options(path: Path, config: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """Return arguments of the backbone that KerasHub's converter does not find in a config of today.

    Args:
        path: the config's file, for messages.
        config: what it holds.
        architecture: kind of the model.

    Raises:
        PresetError: KerasHub's model has other wavelengths or another scaling than the config.
    """
    options: dict[str, Any] = {}
    known = architecture.rope
    for layers, rope in _by_layers(config, known.by_layer).items():
        usual = next(iter(known.scaling))
        kind = rope.get("rope_type", rope.get("type", usual))
        if str(kind) not in known.scaling:
            raise _inexpressible(path, architecture, "rope_type", kind, usual)
        fixed = known.wavelengths.get(layers)
        if fixed is not None and rope.get("rope_theta", fixed) != fixed:
            raise _inexpressible(path, architecture, "rope_theta", rope["rope_theta"], fixed)
        sources = known.scaling[kind]
        missing = [key for key in sources.values() if not isinstance(rope.get(key), int | float)]
        if missing:
            raise PresetError(f"{path} lacks {missing[0]} of the rotary embeddings. Download the model again.")
        options |= {name: rope[key] for name, key in sources.items()}
    return options


def _by_layers(config: Mapping[str, Any], by_layer: bool) -> dict[str, dict[str, Any]]:
    """Return the parameters by kind of layer, ``""`` where all layers are alike."""
    new = config.get("rope_parameters") or {}
    if any(isinstance(value, dict) for value in new.values()):
        return {name: value for name, value in new.items() if isinstance(value, dict)}
    whole = {**new, **(config.get("rope_scaling") or {})}
    if "rope_theta" in config:
        whole.setdefault("rope_theta", config["rope_theta"])
    if not by_layer:
        return {"": whole}
    local = {"rope_theta": config["rope_local_base_freq"]} if "rope_local_base_freq" in config else {}
    return {"full_attention": whole, "sliding_attention": local}


def _inexpressible(path: Path, architecture: Architecture, key: str, value: Any, needed: Any) -> PresetError:
    return PresetError(
        f"{path}: KerasHub's {architecture.title} cannot express {key}={value!r}; it needs {needed!r}. "
        "Choose another model."
    )
