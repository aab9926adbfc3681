"""Writes a task model as a transformers model folder: config.json, model.safetensors, tokenizer."""

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.numpy

from kerora.compat import flatten_layers
from kerora.exchange.filled_folder import check_fillable, write_filled_folder
from kerora.lora.entries import variable_entry
from kerora.lora.names import Names
from kerora.models.json_files import read_json_object
from kerora.models.presets import Preset
from kerora.models.task import TaskModel
from kerora.models.tokenizer_files import HUGGING_FACE_FILES
from kerora.models.write_preset import settings_of
from kerora.runfolder import write_bytes, write_json
from kerora.tasks.registry import task_of_model

# names in WordPiece and byte-pair vocabularies; the first one that the vocabulary holds is taken
ROLES = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
    "bos_token": ("<s>", "<|endoftext|>"),
    "eos_token": ("</s>", "<|endoftext|>"),
}


def write_huggingface_folder(model: TaskModel, directory: Path) -> None:
    """Write a model in float32, so that `from_pretrained` of transformers gives the same outputs.

    Args:
        model: the model, without LoRA. Its updates must be merged.
        directory: an existing, empty folder.
    """
    if model.preset.architecture.hub:
        write_filled_folder(model, directory)
    else:
        tensors = huggingface_tensors(model)
        write_bytes(directory / "model.safetensors", safetensors.numpy.save(tensors, metadata={"format": "pt"}))
        write_json(directory / "config.json", huggingface_config(model))
    # behind both branches, because neither of them writes the classes
    if more := task_of_model(model).exchange.hub_config(model):
        path = directory / "config.json"
        write_json(path, read_json_object(path) | more)
    write_huggingface_tokenizer(model, directory)


def check_huggingface(model: TaskModel, method: str) -> None:
    """Check that a model can be written for transformers.

    Args:
        model: the model.
        method: what was trained: ``lora``, ``full`` or ``head``.

    Raises:
        PresetError: the model cannot be written.
    """
    if model.preset.architecture.hub:
        check_fillable(model, method)


def huggingface_tensors(model: TaskModel) -> dict[str, np.ndarray]:
    """Return all weights in float32 by their names in transformers."""
    names = Names(model)
    tensors: dict[str, np.ndarray] = {}
    for owned in names:
        key = owned.name.key
        # query, key and value of GPT-2 share one tensor: the entry of the first one reads all three
        if owned.name.form != "none" and key not in tensors:
            tensors[key] = variable_entry(key, names.with_key(key)).read()
    for pair in model.preset.architecture.layers:
        if pair.form == "positions":
            tensors |= _counted_positions(model, pair.keras)
    return tensors


def _counted_positions(model: TaskModel, path: str) -> dict[str, np.ndarray]:
    """Return RoBERTa's position embeddings, whose rows start after the padding id, and a zero segment embedding."""
    prefix = f"{model.preset.architecture.prefix}.embeddings"
    table = next(variable for variable in model.variables if variable.path == f"{path}/embeddings")
    rows = np.asarray(keras.ops.convert_to_numpy(table.value), np.float32)
    # transformers numbers positions from pad_id + 1, so no text reads the first pad_id + 1 rows
    front = np.zeros((model.tokenizer.pad_id + 1, rows.shape[1]), np.float32)
    return {
        f"{prefix}.position_embeddings.weight": np.concatenate([front, rows]),
        # zero: KerasHub has no such layer, so the base's row is part of the positions since it was read
        f"{prefix}.token_type_embeddings.weight": np.zeros((1, rows.shape[1]), np.float32),
    }


def huggingface_config(model: TaskModel) -> dict[str, Any]:
    """Return config.json: that of the base, with the settings of the model."""
    architecture, backbone = model.preset.architecture, model.backbone
    config = _base_config(model.preset)
    settings = settings_of(backbone)
    for name, (key, _) in architecture.arguments.items():
        config[key] = settings[name]
    counted = any(pair.form == "positions" for pair in architecture.layers)
    if counted:
        # transformers counts positions from pad_token_id + 1, so the table has that many rows more
        config[architecture.arguments["max_sequence_length"][0]] += model.tokenizer.pad_id + 1
        config["type_vocab_size"] = 1  # the row of zeros of `_counted_positions`
    # for a Keras preset nothing is set yet, and a default of transformers may be a value that KerasHub does not have
    for key, (default, accepted) in architecture.required.items():
        if config.get(key, default) not in accepted:
            config[key] = accepted[0]
    # gelu_new is transformers' name of the tanh approximation
    config[architecture.activation[0]] = "gelu_new" if uses_tanh_gelu(backbone) else "gelu"
    if architecture.norm_epsilon[0]:
        config[architecture.norm_epsilon[0]] = _epsilon(backbone)
    config["model_type"] = architecture.model_type
    config["architectures"] = [architecture.class_stem + task_of_model(model).exchange.NAMES.suffix]
    config["pad_token_id"] = model.tokenizer.pad_id
    config["dtype"] = "float32"
    if architecture.is_decoder:
        # else transformers takes 50256, an id that only the vocabulary of GPT-2 has
        config["eos_token_id"] = model.tokenizer.end_id
        config["bos_token_id"] = next(iter(model.tokenizer.start_ids), model.tokenizer.end_id)
    return config


def uses_tanh_gelu(backbone: Any) -> bool:
    """Return whether the feed-forward layers compute GELU's tanh approximation."""
    # The activation may be any function, so its name is not enough. A computed value tells the two apart.
    probe = np.array([1.0], np.float32)
    for layer in flatten_layers(backbone):
        if layer.name == "feedforward_intermediate_dense":
            value = float(keras.ops.convert_to_numpy(layer.activation(keras.ops.convert_to_tensor(probe)))[0])
            return abs(value - 0.8411920) < 1e-6  # GELU(1) is 0.8413447 exactly, 0.8411920 with tanh
    return False


def _epsilon(backbone: Any) -> float:
    norms = [layer for layer in flatten_layers(backbone) if isinstance(layer, keras.layers.LayerNormalization)]
    # all layer norms of a backbone have one epsilon, so any of them tells it
    return float(norms[-1].epsilon)


def _base_config(preset: Preset) -> dict[str, Any]:
    if preset.source != "huggingface":
        return {}
    config = read_json_object(preset.directory / "config.json")
    # facts about the old file and its head that are not true for the new one
    for key in ("_name_or_path", "torch_dtype", "transformers_version", "num_labels"):
        config.pop(key, None)
    return config


def write_huggingface_tokenizer(model: TaskModel, directory: Path) -> None:
    """Write the tokenizer: copies of the files of the base, or for a Keras preset a tokenizer.json."""
    preset = model.preset
    if preset.source == "huggingface":
        for name in HUGGING_FACE_FILES:
            if (preset.directory / name).is_file():
                shutil.copyfile(preset.directory / name, directory / name)
        if preset.architecture.is_decoder:
            _name_padding(model, directory / "tokenizer_config.json")
        _name_truncation(model, directory / "tokenizer_config.json")
        return
    definition = model.tokenizer.definition
    # with transformers, each call chooses truncation and padding
    definition |= {"truncation": None, "padding": None}
    pieces = _pieces(definition)
    roles = {role: next((name for name in names if name in pieces), None) for role, names in ROLES.items()}
    if model.preset.architecture.is_decoder:
        # decoders such as GPT-2 have no padding token, so the end token pads
        roles["pad_token"] = roles["eos_token"]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.backbone.max_sequence_length,
        "model_input_names": [
            "input_ids",
            *(["token_type_ids"] if model.tokenizer.uses_segments else []),
            "attention_mask",
        ],
        **{role: name for role, name in roles.items() if name is not None},
    }
    write_bytes(directory / "tokenizer.json", json.dumps(definition, ensure_ascii=False).encode())
    write_json(directory / "tokenizer_config.json", config)
    _name_truncation(model, directory / "tokenizer_config.json")


def _name_truncation(model: TaskModel, path: Path) -> None:
    """Name the side of truncation of the model if it is not the one that transformers would take from the files."""
    if "left" in (model.truncate, model.tokenizer.own_side):
        config = read_json_object(path) if path.is_file() else {}
        write_json(path, {**config, "truncation_side": model.truncate or model.tokenizer.own_side})


def _name_padding(model: TaskModel, path: Path) -> None:
    """Name the padding token. Without it, transformers accepts only one text at a time."""
    config = read_json_object(path) if path.is_file() else {}
    if config.get("pad_token") is None:
        config["pad_token"] = model.tokenizer.pieces[model.tokenizer.pad_id]
        write_json(path, config)


def _pieces(definition: Any) -> set[str]:
    vocabulary = definition["model"]["vocab"]
    added = {token["content"] for token in definition.get("added_tokens", ())}
    return added | set(vocabulary if isinstance(vocabulary, dict) else (piece for piece, _ in vocabulary))
