"""Writes a transformers folder for decoders that KerasHub converts: a copy of the base with the trained weights."""

import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.numpy

from kerora.errors import PresetError
from kerora.lora.names import Names
from kerora.models.json_files import read_json_object
from kerora.models.task import TaskModel
from kerora.models.tensor_files import TensorFiles
from kerora.runfolder import write_bytes, write_json
from kerora.tasks.registry import task_of_model

GENERATION = "generation_config.json"
_TASK_SUFFIX = r"(ForCausalLM|ForSequenceClassification|LMHeadModel|Model)$"
_HEADS = ("lm_head.", "score.")


def check_fillable(model: TaskModel, method: str) -> None:
    """Check that the folder of the base model has a place for all trained weights.

    Raises:
        PresetError: the base is a Keras preset, or weights were trained that have no place in the folder.
    """
    title = model.preset.architecture.title
    # the folder is a copy of the base with some tensors replaced, so the base must be in this form
    if model.preset.source != "huggingface":
        raise PresetError(
            f"{model.preset.spec} is a Keras preset of {title}. It cannot be written for transformers and PEFT. "
            "Train on the Hugging Face folder of the model, or export with --format keras."
        )
    # the names of these kinds cover only the layers that can get LoRA
    if method == "full":
        raise PresetError(
            f"All weights of {title} were trained. Those outside its dense layers cannot be written for "
            "transformers. Export with --format keras."
        )


def write_filled_folder(model: TaskModel, directory: Path) -> None:
    """Write config.json and model.safetensors, float32: those of the base, with dense layers and head of the model.

    Args:
        model: the model, without LoRA. Its base is a Hugging Face folder.
        directory: an existing, empty folder.

    Raises:
        PresetError: the folder of the base lacks a tensor of the model.
    """
    tensors = filled_tensors(model)
    write_bytes(directory / "model.safetensors", safetensors.numpy.save(tensors, metadata={"format": "pt"}))
    write_json(directory / "config.json", filled_config(model))
    generation = model.preset.directory / GENERATION
    if generation.is_file() and task_of_model(model).exchange.KEEPS_OUTPUT:
        shutil.copyfile(generation, directory / GENERATION)


def filled_tensors(model: TaskModel) -> dict[str, np.ndarray]:
    """Return the float32 tensors of the base by their names in transformers, with dense layers and head of `model`."""
    source, prefix = TensorFiles(model.preset.directory), f"{model.preset.architecture.prefix}."
    # the head in the base may belong to another task, or have another number of classes
    kept = [name for name in source.names if not name.startswith(_HEADS)]
    # files of a bare backbone (without a task class) have no prefix in the names of their tensors
    tensors = {name if name.startswith(prefix) else prefix + name: source.read(name) for name in kept}
    if task_of_model(model).exchange.KEEPS_OUTPUT:
        tensors |= {name: source.read(name) for name in source.names if name.startswith("lm_head.")}
    heads = {id(layer) for layer in model.head_layers}
    names = Names(model)
    for module, (layer, *_) in names.adaptable().items():
        for key in (f"{module}.weight", f"{module}.bias"):
            for owned in names.with_key(key):
                # a new head has no tensor in the base; any other tensor that the base lacks is unknown to transformers
                if id(layer) not in heads and key not in tensors:
                    raise PresetError(
                        f"{model.preset.directory} has no tensor {key}, so the model cannot be written in its form. "
                        "Export with --format keras."
                    )
                value = np.asarray(keras.ops.convert_to_numpy(owned.variable.value), np.float32)
                # `to_file` may return a transposed view, and safetensors needs contiguous arrays
                tensors[key] = np.ascontiguousarray(owned.to_file(value))
    return tensors


def filled_config(model: TaskModel) -> dict[str, Any]:
    """Return config.json of the base with the class of the task and the padding token."""
    config = read_json_object(model.preset.directory / "config.json")
    # facts about the files of the base that are not true for these, which are float32 and not quantised
    for key in ("_name_or_path", "torch_dtype", "transformers_version", "num_labels", "quantization_config"):
        config.pop(key, None)
    exchange = task_of_model(model).exchange
    named = config.get("architectures") or []
    # the stem of the class, such as Llama, stays; only the ending for the task changes
    config["architectures"] = [
        re.sub(_TASK_SUFFIX, "", str(name)) + exchange.NAMES.decoder_suffix for name in named[:1]
    ] or None
    config["dtype"] = "float32"
    # a classifier finds the last token of a row by the padding token, which configs of decoders often lack
    if not exchange.KEEPS_OUTPUT:
        config["pad_token_id"] = model.tokenizer.pad_id
    return config
