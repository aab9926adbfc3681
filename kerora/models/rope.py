"""Reads the rotary position embeddings (Su et al. 2021, arXiv:2104.09864) from a Hugging Face config.

Up to version 4, transformers wrote ``rope_theta`` and ``rope_scaling``. The kind of scaling was called ``type``, and
later ``rope_type``. Version 5 writes ``rope_parameters``, separately for each kind of layer if they differ. The
converters of KerasHub silently ignore some of these entries. This module passes them to KerasHub, or raises an error.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerora.errors import PresetError
from kerora.models.architectures import Architecture


def rope_options(path: Path, config: Mapping[str, Any], architecture: Architecture) -> dict[str, Any]:
    """Return arguments of the backbone that the converter of KerasHub does not find in a current config.

    Args:
        path: the file of the config, for messages.
        config: content of the config.
        architecture: kind of the model.

    Raises:
        PresetError: the model of KerasHub has other wavelengths or another scaling than the config.
    """
    options: dict[str, Any] = {}
    known = architecture.rope
    for layers, rope in _by_layers(config, known.by_layer).items():
        usual = next(iter(known.scaling))
        kind = rope.get("rope_type", rope.get("type", usual))
        if str(kind) not in known.scaling:
            raise _inexpressible(path, architecture, "rope_type", kind, usual)
        # KerasHub has this wavelength in its code, so another one cannot be set.
        fixed = known.wavelengths.get(layers)
        if fixed is not None and rope.get("rope_theta", fixed) != fixed:
            raise _inexpressible(path, architecture, "rope_theta", rope["rope_theta"], fixed)
        sources = known.scaling[kind]
        missing = [key for key in sources.values() if not isinstance(rope.get(key), int | float)]
        if missing:
            raise PresetError(f"{path} lacks {missing[0]} of the rotary embeddings. Download the model again.")
        # The converter of Llama looks for scaling only in `rope_scaling`, the name of version 4.
        options |= {name: rope[key] for name, key in sources.items()}
    return options


def _by_layers(config: Mapping[str, Any], by_layer: bool) -> dict[str, dict[str, Any]]:
    """Return the parameters by kind of layer. The kind is ``""`` if all layers have the same."""
    new = config.get("rope_parameters") or {}
    if any(isinstance(value, dict) for value in new.values()):
        return {name: value for name, value in new.items() if isinstance(value, dict)}
    whole = {**new, **(config.get("rope_scaling") or {})}
    if "rope_theta" in config:
        # `rope_parameters` takes precedence over the older key.
        whole.setdefault("rope_theta", config["rope_theta"])
    if not by_layer:
        return {"": whole}
    # Gemma 3 scales only the layers with the whole context. The others have a wavelength of their own.
    local = {"rope_theta": config["rope_local_base_freq"]} if "rope_local_base_freq" in config else {}
    return {"full_attention": whole, "sliding_attention": local}


def _inexpressible(path: Path, architecture: Architecture, key: str, value: Any, needed: Any) -> PresetError:
    return PresetError(
        f"{path}: KerasHub's {architecture.title} cannot express {key}={value!r}; it needs {needed!r}. "
        "Choose another model."
    )
