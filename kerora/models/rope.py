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

_SCALING = {"llama3": ("default", "llama3"), "gemma3": ("default", "linear")}
"""Kinds of scaling that KerasHub's model has; others have the default one."""
_FIXED = {"gemma": {"": 10_000.0}, "gemma3": {"full_attention": 1_000_000.0, "sliding_attention": 10_000.0}}
"""Wavelengths that KerasHub's model has built in, by kind of layer."""
_LLAMA3 = {
    "rope_frequency_adjustment_factor": "factor",
    "rope_low_freq_factor": "low_freq_factor",
    "rope_high_freq_factor": "high_freq_factor",
    "rope_pretraining_sequence_length": "original_max_position_embeddings",
}


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
    for layers, rope in _by_layers(config, architecture.kind).items():
        kind = rope.get("rope_type", rope.get("type", "default"))
        accepted = _SCALING.get(architecture.kind, ("default",))
        if kind not in accepted:
            raise _inexpressible(path, architecture, "rope_type", kind, accepted[0])
        fixed = _FIXED.get(architecture.kind, {}).get(layers)
        if fixed is not None and rope.get("rope_theta", fixed) != fixed:
            raise _inexpressible(path, architecture, "rope_theta", rope["rope_theta"], fixed)
        if kind == "llama3":
            missing = [key for key in _LLAMA3.values() if not isinstance(rope.get(key), int | float)]
            if missing:
                raise PresetError(f"{path} lacks {missing[0]} of the rotary embeddings. Download the model again.")
            options = {name: rope[key] for name, key in _LLAMA3.items()}
    return options


def _by_layers(config: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the parameters by kind of layer, ``""`` where all layers are alike."""
    new = config.get("rope_parameters") or {}
    if any(isinstance(value, dict) for value in new.values()):
        return {name: value for name, value in new.items() if isinstance(value, dict)}
    whole = {**new, **(config.get("rope_scaling") or {})}
    if "rope_theta" in config:
        whole.setdefault("rope_theta", config["rope_theta"])
    if kind != "gemma3":
        return {"": whole}
    local = {"rope_theta": config["rope_local_base_freq"]} if "rope_local_base_freq" in config else {}
    return {"full_attention": whole, "sliding_attention": local}


def _inexpressible(path: Path, architecture: Architecture, key: str, value: Any, needed: Any) -> PresetError:
    return PresetError(
        f"{path}: KerasHub's {architecture.title} cannot express {key}={value!r}; it needs {needed!r}. "
        "Choose another model."
    )
