"""Adapter files in the format of PEFT: adapter_model.safetensors and adapter_config.json, and a file of Kerora's own.

For each adapted module the weight file holds ``base_model.model.<module>.lora_A.weight`` (rank, in) and
``.lora_B.weight`` (out, rank), and with DoRA ``.lora_magnitude_vector`` (out,). Trained biases are stored as
``<module>.base_layer.bias`` or ``<module>.bias``. The file also holds all weights of the layers that were trained in
full, such as the head. Modules have their names from transformers if the model knows them. Otherwise the name is the
path of the Keras layer with dots.

All checks are done before anything is changed: no tensor may be missing or left over, and all shapes, dtypes and values
must be valid. One error names all faults. kerora_adapter.json holds the sha256 of the weight file, so that every damage
is found.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.numpy

from kerora.errors import AdapterError, ConfigError, RunError
from kerora.lora.entries import PREFIX, Entry
from kerora.lora.inject import install, lora_layers, remove_lora, train_full, train_head
from kerora.lora.names import Names
from kerora.lora.peft import Plan, config_faults, describe, entries_of, plan_loading, trained
from kerora.lora.tensors import WEIGHTS_FILE, read_tensors
from kerora.runfolder import RunFolder, read_json, write_bytes, write_json

CONFIG_FILE = "adapter_config.json"
OWN_FILE = "kerora_adapter.json"
"""What only Kerora needs: the key ``kerora`` of the description. PEFT warns of keys that it does not know."""
DTYPES = ("float32", "float16")
__all__ = [
    "CONFIG_FILE",
    "PREFIX",
    "WEIGHTS_FILE",
    "adapter_entries",
    "load_adapter",
    "read_adapter_config",
    "save_adapter",
]


def adapter_entries(model: keras.Model, head: Sequence[str] | None = None) -> list[Entry]:
    """List the tensors of the adapter of a model: A, B, trained biases, layers trained in full."""
    keras_paths = not lora_layers(model)
    names = Names(model, keras_paths)
    return entries_of(trained(model, names, head), names)


def save_adapter(
    model: keras.Model,
    directory: Path | str,
    extra: Mapping[str, Any] | None = None,
    head: Sequence[str] | None = None,
    *,
    dtype: str = "float32",
) -> None:
    """Write the adapter of a model to a folder.

    Args:
        model: a model with LoRA, or a task model of Kerora of which all weights or only the head is trained.
        directory: the folder. Its adapter files are replaced.
        extra: more entries of the description: ``task_type`` and ``base_model_name_or_path`` as in PEFT, all others
            in the file kerora_adapter.json. Task models of Kerora add their base, its fingerprint and their classes.
        head: names of the layers trained in full. Default: None, the head of the model.
        dtype: dtype of the tensors, float32 or float16. Default: float32.

    Raises:
        AdapterError: the model has no LoRA, trains a weight that the format cannot hold, or a value does not fit dtype.
        RunError: the folder is not writable.
    """
    if dtype not in DTYPES:
        raise AdapterError(f"dtype must be one of {', '.join(DTYPES)}. Received: {dtype!r}")
    layers = lora_layers(model)
    names = Names(model, keras_paths=not layers)
    parts = trained(model, names, head)
    if not layers and (not parts.method or not hasattr(model, "adapter_info")):
        raise AdapterError("The model has no LoRA to save. Call kerora.enable_lora(model) first.")
    if any(layer.update.base_kernel is not None for layer in layers):
        raise AdapterError("The LoRA updates are merged. Call kerora.unmerge_lora(model) before saving them.")
    # The caller may replace the entries of the model.
    info = {**getattr(model, "adapter_info", {}), **(extra or {})}
    tensors = {entry.key: _narrow(entry, dtype) for entry in entries_of(parts, names)}
    # PEFT writes the same metadata.
    content = safetensors.numpy.save(tensors, metadata={"format": "pt"})
    description = describe(parts, {**info, "sha256": hashlib.sha256(content).hexdigest()})
    own = description.pop("kerora")
    folder = Path(directory)
    # The description comes last, with the sha256 of the weights. An interrupted save is then found as damage.
    write_bytes(folder / WEIGHTS_FILE, content)
    write_json(folder / OWN_FILE, own)
    write_json(folder / CONFIG_FILE, description)


def round_adapter(model: keras.Model, dtype: str) -> None:
    """Round the trained weights to their values in a file of `dtype`, so that measurements fit that file."""
    if dtype == "float16":
        for entry in adapter_entries(model):
            entry.assign(_narrow(entry, dtype).astype(np.float32))


def load_adapter(model: keras.Model, directory: Path | str, head: Sequence[str] | None = None) -> dict[str, Any]:
    """Load an adapter into a model: add LoRA to its layers if needed, then set A, B, biases and head.

    Args:
        model: the base model of the adapter, with a head of the same classes.
        directory: a folder with adapter_model.safetensors and adapter_config.json, of Kerora or PEFT, or a run folder.
        head: names of the layers trained in full. Default: None, the head of the model.

    Returns:
        The content of adapter_config.json, with that of Kerora's own file under the key ``kerora``.

    Raises:
        AdapterError: a file is missing or damaged, or does not fit the model. The message names all faults.
    """
    folder = adapter_folder(directory)
    description = read_adapter_config(folder)
    names = Names(model, description.get("kerora", {}).get("method", "lora") != "lora")
    raw = read_tensors(folder / WEIGHTS_FILE, description.get("kerora", {}).get("sha256"))
    plan = plan_loading(model, names, description, raw, head)
    faults = list(plan.faults)
    fresh = not lora_layers(model)
    if not faults or fresh:
        _other_base(model, description, faults)
    entries: list[Entry] = []
    # `_prepare` must change the model before the entries are known, so a fault has to undo it.
    before = {id(variable): variable.trainable for variable in model.variables}
    if not plan.faults:
        faults += _prepare(model, plan) if fresh else _other_settings(model, plan)
        entries = adapter_entries(model, head) if not plan.faults else []
    # Without entries, only dtypes and values of the tensors can be checked.
    faults += _faults(entries, plan.tensors, complete=bool(entries))
    if faults:
        if fresh:
            remove_lora(model)
        for variable in model.variables:
            variable.trainable = before.get(id(variable), variable.trainable)
        raise AdapterError(f"{folder / WEIGHTS_FILE} does not fit this model: {'; '.join(faults)}.")
    for entry in entries:
        # Only here, after all checks, values are set.
        entry.assign(plan.tensors[entry.key].astype("float32"))
    if hasattr(model, "head_state"):
        # What the head needs beside its weights. An adapter of PEFT has no such entries.
        model.head_state = description.get("kerora", {})
    return description


def adapter_folder(path: Path | str) -> Path:
    """Return the folder of the adapter files: the adapter folder of a run, or the path itself."""
    run = RunFolder(path)
    return run.adapter if run.manifest.is_file() else run.path


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json, and as its key ``kerora`` the file of Kerora beside it. Check what loading needs.

    Older versions of Kerora wrote this key into adapter_config.json itself.

    Raises:
        AdapterError: a file is missing, damaged, or does not describe a LoRA adapter.
    """
    path = folder / CONFIG_FILE
    try:
        description = read_json(path)
        if (folder / OWN_FILE).is_file():
            description["kerora"] = read_json(folder / OWN_FILE)
    except RunError as error:
        raise AdapterError(str(error)) from error
    faults = config_faults(description)
    if faults:
        raise AdapterError(f"{path} is not an adapter that Kerora can use: {'; '.join(faults)}.")
    return description


def _narrow(entry: Entry, dtype: str) -> np.ndarray:
    # An overflow gives infinity, which is reported below.
    with np.errstate(over="ignore"):
        value = entry.read().astype(dtype)
    if not np.isfinite(value).all():
        raise AdapterError(f"A value of {entry.key} does not fit into {dtype}. Use --adapter-dtype float32.")
    return value


def _prepare(model: keras.Model, plan: Plan) -> list[str]:
    """Make the same weights trainable as in the adapter. Return the faults."""
    try:
        if plan.method == "lora":
            install(model, plan.updates, plan.bias, plan.full)
        else:
            (train_full if plan.method == "full" else train_head)(model)
    except ConfigError as error:
        plan.faults.append(str(error).rstrip("."))
    return plan.faults


def _other_base(model: keras.Model, description: Mapping[str, Any], faults: list[str]) -> None:
    own, here = description.get("kerora", {}), getattr(model, "adapter_info", {})
    for key, what in (("fingerprint", "a base model with fingerprint"), ("classes", "the classes")):
        # Adapters of PEFT hold neither entry.
        if key in own and key in here and own[key] != here[key]:
            faults.append(f"it was trained on {what} {_short(own[key])}, but this model has {_short(here[key])}")


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else ", ".join(map(str, value))


def _other_settings(model: keras.Model, plan: Plan) -> list[str]:
    """Return the settings in which a model with LoRA differs from the file. A wrong scale does not change a shape."""
    have = {layer.path: layer.update for layer in lora_layers(model)}
    faults = []
    for layer, wanted in plan.updates:
        update = have.pop(layer.path, None)
        if update is None:
            faults.append(f"{layer.path} has no LoRA in the model")
            continue
        values = {"r": (wanted.rank, update.rank), "lora_alpha": (wanted.alpha, update.alpha)}
        values["use_rslora"] = (wanted.use_rslora, update.use_rslora)
        values["use_dora"] = (wanted.use_dora, update.magnitude is not None)
        faults += [
            f"{key} is {file} but the model has {value}" for key, (file, value) in values.items() if file != value
        ]
    faults += [f"{path} has LoRA in the model alone" for path in have]
    # Layers of one kind differ in the same way, so equal messages are given once.
    return list(dict.fromkeys(faults))


def _faults(entries: Sequence[Entry], tensors: Mapping[str, np.ndarray], complete: bool) -> list[str]:
    wanted = {entry.key: entry for entry in entries}
    faults = [f"missing tensor {key}" for key in wanted if key not in tensors]
    faults += [f"unknown tensor {key}" for key in tensors if complete and key not in wanted]
    for key, value in tensors.items():
        entry = wanted.get(key)
        if value.dtype not in (np.dtype("float32"), np.dtype("float16")):
            faults.append(f"{key} has dtype {value.dtype}, needs float32 or float16")
        elif not np.isfinite(value).all():
            faults.append(f"{key} holds values that are not finite")
        elif entry is not None and value.shape != entry.shape:
            faults.append(f"{key} has shape {value.shape}, needs {entry.shape}")
        elif entry is not None and (problem := entry.problem(value)):
            faults.append(f"{key} {problem}")
    return faults
