"""Finds the weight files of Keras preset folders, and merges the LoRA files of Keras' own `enable_lora`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from kerora.compat import flatten_layers, has_kernel, kernel_of
from kerora.errors import PresetError
from kerora.models.json_files import read_json_object

WEIGHTS, SHARDS = "model.weights.h5", "model.weights.json"
"""All weights of a backbone in one file, or the list of several files (KerasHub splits weights above 10 GB)."""
LORA_ENDING = ".lora.h5"
"""Ending of the files that `Backbone.save_lora_weights` writes."""


def listed_shards(directory: Path) -> list[str]:
    """Return the names of the files that hold the weights.

    Raises:
        PresetError: the list is missing or damaged.
    """
    path = directory / SHARDS
    places = read_json_object(path).get("weight_map")
    names: set[str] = set()
    for value in places.values() if isinstance(places, dict) else [None]:
        entries = value if isinstance(value, list) else [value]  # One layer may be in several files.
        for name in entries:
            if not isinstance(name, str):
                raise PresetError(f"{path} is damaged: it lists no weight files. Save or download the preset again.")
            # Only the name, so that a list cannot lead to files outside the folder.
            names.add(Path(name).name)
    return sorted(names)


def has_keras_weights(directory: Path) -> bool:
    """Tell whether a folder holds all weight files of a backbone."""
    if (directory / WEIGHTS).is_file() or not (directory / SHARDS).is_file():
        return (directory / WEIGHTS).is_file()
    return all((directory / name).is_file() for name in listed_shards(directory))


def quantized_mode(config: Mapping[str, Any]) -> str | None:
    """Return the quantization of the weights of a serialized backbone, such as ``int8``, or None.

    Args:
        config: content of config.json. The dtype of a backbone is the name of a policy, a policy, or a policy for each
            layer.
    """
    return _mode(config.get("config", {}).get("dtype") if isinstance(config.get("config"), dict) else None)


def _mode(policy: Any) -> str | None:
    if isinstance(policy, str):
        # Keras names a quantized policy "int8_from_float32", by its mode and the dtype before it.
        return policy.partition("_from_")[0] if "_from_" in policy else None
    if not isinstance(policy, dict):
        return None
    mode = policy.get("mode")
    if isinstance(mode, str):
        return mode
    return next((found for found in map(_mode, policy.values()) if found is not None), None)


def holds_quantized(path: Path) -> bool:
    """Tell whether a weight file holds integer kernels or embeddings. Return False if it cannot be read."""
    found: list[str] = []

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim > 1 and item.dtype in (np.int8, np.uint8):
            found.append(name)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(look)
    except OSError:
        return False
    return bool(found)


def merge_keras_lora(backbone: Any, path: Path) -> None:
    """Add the LoRA update of Keras to the kernels of a backbone.

    The file identifies a layer by its number among the layers that have weights, as `Backbone.load_lora_weights` counts
    them. It does not store alpha, so the factor of the update is one, as in Keras.

    Args:
        backbone: a backbone without LoRA.
        path: file that `Backbone.save_lora_weights` wrote.

    Raises:
        PresetError: the file is damaged or belongs to another model.
    """
    # The order of Keras, which is not that of the model. The numbers in the file follow it.
    layers = [layer for layer in flatten_layers(backbone, include_self=False) if layer.weights]
    for place, update in _read_lora(path).items():
        layer = layers[place] if place < len(layers) else None
        kernel = kernel_of(layer) if has_kernel(layer) else None
        if layer is None or kernel is None or tuple(kernel.shape) != update.shape:
            raise PresetError(
                f"{path} does not fit the backbone in its folder: its layer {place} has the shape {update.shape}. "
                "Put it into the folder of the preset that it was trained on."
            )
        kernel.assign(keras.ops.convert_to_numpy(kernel) + update)


def _read_lora(path: Path) -> dict[int, np.ndarray]:
    """Return the change of each layer's kernel, float32."""
    try:
        with h5py.File(path, "r") as file:
            groups = {int(name): group["vars"] for name, group in file["lora"].items() if name.isdecimal()}
            found: dict[int, np.ndarray] = {
                # A is (inputs, heads, rank) and B (rank, size): Keras divides only the last axis of the kernel.
                place: np.matmul(*(np.asarray(group[f"lora_kernel_{part}"], np.float32) for part in "ab"))
                for place, group in groups.items()
            }
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PresetError(f"{path} cannot be read as a LoRA file of Keras: {reason}. Save it again.") from error
    if not found:
        raise PresetError(f"{path} holds no layer. Save it again with Backbone.save_lora_weights.")
    return found
