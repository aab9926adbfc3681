"""Adapter files: the low-rank matrices and the head in safetensors, their description in JSON.

`adapter_model.safetensors` holds, for each adapted layer, ``<path>.lora_A.weight`` (rank, in) and
``<path>.lora_B.weight`` (out, rank): PEFT's orientation, transposed against Keras' kernels. Trained
biases and the head's variables stand under their own paths. All keys carry PEFT's prefix
``base_model.model.``; a path is the Keras layer path with dots.

Loading checks everything before it changes anything: every tensor must be there, none may be left
over, and all shapes, dtypes and values must be sound. All faults are named in one error. The
description holds the sha256 of the weights file, so that a single flipped bit is found too.
"""

import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from kerora.errors import AdapterError, ConfigError, RunError
from kerora.lora.inject import enable_lora, find_head, layer_path, lora_layers, remove_lora
from kerora.runfolder import read_json, write_bytes, write_json

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
PREFIX = "base_model.model."
FORMAT_VERSION = 1
FLOAT_MAX = sys.float_info.max


@dataclass(frozen=True)
class Entry:
    """One tensor of the adapter file.

    Attributes:
        key: its name in the file.
        variable: the Keras variable that it is read from and written to.
        transposed: whether the file holds the variable's transpose.
    """

    key: str
    variable: Any
    transposed: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape in the file."""
        shape = tuple(int(side) for side in self.variable.shape)
        return shape[::-1] if self.transposed else shape

    def read(self) -> np.ndarray:
        """Return the variable's value as the file holds it."""
        value = np.asarray(keras.ops.convert_to_numpy(self.variable.value), dtype="float32")
        return np.ascontiguousarray(value.T if self.transposed else value)

    def assign(self, value: np.ndarray) -> None:
        """Set the variable from the file's tensor."""
        self.variable.assign(value.T if self.transposed else value)


def adapter_entries(model: keras.Model, head: Sequence[str] | None = None) -> list[Entry]:
    """List the tensors that make up a model's adapter: A, B, trained biases, head."""
    entries: list[Entry] = []
    for layer in lora_layers(model):
        path = _dotted(layer_path(layer))
        entries.append(Entry(f"{PREFIX}{path}.lora_A.weight", layer.update.a, True))
        entries.append(Entry(f"{PREFIX}{path}.lora_B.weight", layer.update.b, True))
        if layer.bias is not None and layer.bias.trainable:
            entries.append(Entry(f"{PREFIX}{path}.bias", layer.bias, False))
    for layer in find_head(model, head):
        for variable in layer.trainable_variables:
            kernel = len(variable.shape) == 2
            name = "weight" if kernel else str(variable.name)
            path = _dotted(str(variable.path).rpartition("/")[0])
            entries.append(Entry(f"{PREFIX}{path}.{name}", variable, kernel))
    return entries


def save_adapter(
    model: keras.Model, directory: Path | str, extra: Mapping[str, Any] | None = None, head: Sequence[str] | None = None
) -> None:
    """Write a model's adapter into a folder.

    Args:
        model: a model with LoRA.
        directory: the folder; its adapter files are replaced.
        extra: more keys for adapter_config.json, such as the base model's name and fingerprint.
        head: names of the layers trained in full; None takes the model's own.

    Raises:
        AdapterError: the model has no LoRA.
        RunError: the folder is not writable.
    """
    layers = lora_layers(model)
    if not layers:
        raise AdapterError("The model has no LoRA to save. Call kerora.enable_lora(model) first.")
    tensors = {entry.key: entry.read() for entry in adapter_entries(model, head)}
    update = layers[0].update
    description = {
        "peft_type": "LORA",
        "format": "kerora",
        "format_version": FORMAT_VERSION,
        "r": update.rank,
        "lora_alpha": update.alpha,
        "lora_dropout": update.dropout,
        "target_modules": [layer_path(layer) for layer in layers],
        "bias": "lora_only" if any(layer.bias is not None and layer.bias.trainable for layer in layers) else "none",
        **(extra or {}),
    }
    content = safetensors.numpy.save(tensors, metadata={"format": "kerora"})
    folder = Path(directory)
    write_bytes(folder / WEIGHTS_FILE, content)
    write_json(folder / CONFIG_FILE, {**description, "sha256": hashlib.sha256(content).hexdigest()})


def load_adapter(model: keras.Model, directory: Path | str, head: Sequence[str] | None = None) -> dict[str, Any]:
    """Load an adapter into a model: promotes its layers if need be, then sets A, B, biases and head.

    Args:
        model: the base the adapter was trained on, with a head of the same classes.
        directory: a folder with adapter_model.safetensors and adapter_config.json.
        head: names of the layers trained in full; None takes the model's own.

    Returns:
        adapter_config.json as a dict.

    Raises:
        AdapterError: a file is missing or damaged, or does not fit the model; all faults in one message.
    """
    folder = Path(directory)
    description = read_adapter_config(folder)
    tensors = _read_tensors(folder / WEIGHTS_FILE, description.get("sha256"))
    fresh = not lora_layers(model)
    if fresh:
        _promote_like(model, description, head)
    entries = adapter_entries(model, head)
    faults = _other_settings(model, description) + _faults(entries, tensors)
    if faults:
        if fresh:
            remove_lora(model)
        raise AdapterError(f"{folder / WEIGHTS_FILE} does not fit this model: {'; '.join(faults)}.")
    for entry in entries:
        entry.assign(tensors[entry.key].astype("float32"))
    return description


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json and check the keys that loading needs.

    Raises:
        AdapterError: the file is missing, damaged, or of another kind.
    """
    path = folder / CONFIG_FILE
    try:
        description = read_json(path)
    except RunError as error:
        raise AdapterError(str(error)) from error
    faults = []
    if description.get("format") != "kerora" or description.get("format_version") != FORMAT_VERSION:
        found = f"{description.get('format')!r} version {description.get('format_version')!r}"
        faults.append(f"format must be 'kerora' version {FORMAT_VERSION}, found {found}")
    rank, alpha, dropout = (description.get(key) for key in ("r", "lora_alpha", "lora_dropout"))
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        faults.append(f"r must be a whole number of 1 or more, found {rank!r}")
    if not _is_number(alpha, above=0):
        faults.append(f"lora_alpha must be a number above 0, found {alpha!r}")
    if not _is_number(dropout, above=-1e-9, below=1):
        faults.append(f"lora_dropout must be at least 0 and below 1, found {dropout!r}")
    targets = description.get("target_modules")
    if not isinstance(targets, list) or not targets or not all(isinstance(target, str) for target in targets):
        faults.append(f"target_modules must be a list of layer paths, found {targets!r}")
    if description.get("bias") not in ("none", "lora_only"):
        faults.append(f"bias must be 'none' or 'lora_only', found {description.get('bias')!r}")
    sha256 = description.get("sha256")
    if sha256 is not None and not isinstance(sha256, str):
        faults.append(f"sha256 must be text, found {sha256!r}")
    if faults:
        raise AdapterError(f"{path} is not a Kerora adapter: {'; '.join(faults)}.")
    return description


def _promote_like(model: keras.Model, description: Mapping[str, Any], head: Sequence[str] | None) -> None:
    try:
        enable_lora(
            model,
            rank=description["r"],
            alpha=description["lora_alpha"],
            dropout=description["lora_dropout"],
            targets=description["target_modules"],
            train_bias=description["bias"] == "lora_only",
            head=head,
        )
    except ConfigError as error:
        raise AdapterError(f"The adapter does not fit this model: {error}") from error


def _read_tensors(path: Path, sha256: str | None) -> dict[str, np.ndarray]:
    """Read the weights file; `sha256` is the description's, None where another tool wrote it without one."""
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"its content is not what {CONFIG_FILE} was written for (sha256)")
        return safetensors.numpy.load(content)
    except OSError as error:
        raise AdapterError(f"Cannot read {path}: {error.strerror}. Restore the file or train again.") from error
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{path} is damaged: {error}. Restore the file or train again.") from error


def _other_settings(model: keras.Model, description: Mapping[str, Any]) -> list[str]:
    """Name the settings in which a model that had LoRA already differs; a wrong scale shows in no shape."""
    update = lora_layers(model)[0].update
    wanted = {"r": update.rank, "lora_alpha": update.alpha}
    return [
        f"{key} is {description[key]} but the model has {value}"
        for key, value in wanted.items()
        if description[key] != value
    ]


def _faults(entries: Sequence[Entry], tensors: Mapping[str, np.ndarray]) -> list[str]:
    wanted = {entry.key: entry for entry in entries}
    faults = [f"missing tensor {key}" for key in wanted if key not in tensors]
    faults += [f"unknown tensor {key}" for key in tensors if key not in wanted]
    for key, value in tensors.items():
        entry = wanted.get(key)
        if entry is None:
            continue
        if value.shape != entry.shape:
            faults.append(f"{key} has shape {value.shape}, needs {entry.shape}")
        elif value.dtype not in (np.dtype("float32"), np.dtype("float16")):
            faults.append(f"{key} has dtype {value.dtype}, needs float32 or float16")
        elif not np.isfinite(value).all():
            faults.append(f"{key} holds values that are not finite")
    return faults


def _dotted(path: str) -> str:
    return path.replace("/", ".")


def _is_number(value: Any, above: float, below: float = math.inf) -> bool:
    # compared with the largest float, because JSON holds integers that no float can
    return isinstance(value, int | float) and not isinstance(value, bool) and above < value < min(below, FLOAT_MAX)
