"""Writes a classifier as a KerasHub preset that plain `keras_hub.models.TextClassifier.from_preset` loads."""

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.errors import PresetError
from kerora.exchange.huggingface_folder import uses_tanh_gelu
from kerora.models.classifier import TextClassifier
from kerora.models.keras_presets import EXACT_FILE
from kerora.models.tokenizer_files import KERAS_ASSETS, TOKENIZER_FILE
from kerora.models.write_preset import rebuild, write_tokenizer
from kerora.runfolder import write_json

keras_hub = import_keras_hub()
SENTENCEPIECE_FILES = ("spm.model", "sentencepiece.bpe.model", "spiece.model")


def write_keras_task(model: TextClassifier, directory: Path) -> None:
    """Write backbone, head, preprocessor and tokenizer.

    KerasHub fixes the activation and the layer norms' epsilon of each kind. Where the model's differ (BERT's exact
    GELU), `EXACT_FILE` says so, and Kerora puts them back when it loads the preset; plain KerasHub does not read it.

    Args:
        model: a classifier without LoRA, float32.
        directory: an existing, empty folder.

    Raises:
        PresetError: KerasHub has no text classifier of the kind, or its tokenizer cannot be made from the base's files.
    """
    task_class = classifier_class(model)
    architecture = model.preset.architecture
    stem = architecture.tokenizer.removesuffix("Tokenizer")
    backbone = rebuild(model.backbone, "float32", 0.0)
    with without_tensorflow():
        backbone.save_to_preset(str(directory))  # a tokenizer loads only from a folder that holds a model too
    _write_tokenizer(model, directory)
    with without_tensorflow():
        tokenizer = getattr(keras_hub.models, architecture.tokenizer).from_preset(str(directory))
        preprocessor = getattr(keras_hub.models, f"{stem}TextClassifierPreprocessor")(
            tokenizer, sequence_length=model.max_length
        )
        task = task_class(backbone=backbone, num_classes=len(model.classes), preprocessor=preprocessor)
        _copy_head(model, task, backbone)
        task.save_to_preset(str(directory))
    write_json(directory / EXACT_FILE, exact_settings(model.backbone))


def classifier_class(model: TextClassifier) -> Any:
    """Return KerasHub's text classifier for a model's kind.

    Raises:
        PresetError: there is none.
    """
    architecture = model.preset.architecture
    name = architecture.backbone.replace("Backbone", "TextClassifier")
    found = getattr(keras_hub.models, name, None)
    if found is None:
        raise PresetError(
            f"KerasHub has no text classifier for {architecture.title}. Use --format transformers, peft or kerora."
        )
    return found


def exact_settings(backbone: Any) -> dict[str, Any]:
    """Return what KerasHub's config cannot say: the activation and the epsilon of the layer norms."""
    norms = [layer for layer in backbone._flatten_layers() if isinstance(layer, keras.layers.LayerNormalization)]
    return {"activation": "gelu_tanh" if uses_tanh_gelu(backbone) else "gelu", "epsilon": float(norms[-1].epsilon)}


def keras_logits(directory: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Load the preset with plain KerasHub and return its logits, float32 (rows, classes)."""
    with without_tensorflow():
        task = keras_hub.models.TextClassifier.from_preset(str(directory))
    return logits_of(task, {name: inputs[name] for name in inputs if name in task.backbone.input})


def keras_tokens(directory: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """Return the model's inputs as the exported preset's own preprocessor makes them."""
    with without_tensorflow():
        preprocessor = keras_hub.models.TextClassifierPreprocessor.from_preset(str(directory))
        found = preprocessor(texts)
    return {name: np.asarray(keras.ops.convert_to_numpy(value), np.int32) for name, value in found.items()}


def logits_of(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return a Keras model's logits as numpy."""
    with torch.no_grad():
        value: np.ndarray = keras.ops.convert_to_numpy(model(inputs, training=False))
    return value


def _copy_head(model: TextClassifier, task: Any, backbone: Any) -> None:
    for layer in model.head_layers:
        if any(own.name == layer.name for own in task.layers):
            task.get_layer(layer.name).set_weights(layer.get_weights())
        else:  # a fresh pooler, where the backbone's own was missing
            backbone.get_layer(layer.name).set_weights(layer.get_weights())


def _write_tokenizer(model: TextClassifier, directory: Path) -> None:
    preset, architecture = model.preset, model.preset.architecture
    if preset.source == "keras":
        shutil.copytree(preset.directory / KERAS_ASSETS, directory / KERAS_ASSETS)
        shutil.copyfile(preset.directory / TOKENIZER_FILE, directory / TOKENIZER_FILE)
        return
    if model.tokenizer.definition["model"]["type"] != "Unigram":
        write_tokenizer(model.tokenizer, architecture, directory)
        return
    found = [preset.directory / name for name in SENTENCEPIECE_FILES if (preset.directory / name).is_file()]
    if not found:
        raise PresetError(
            f"{preset.directory} holds no SentencePiece model ({', '.join(SENTENCEPIECE_FILES)}), which KerasHub's "
            f"{architecture.title} tokenizer needs. Put it there, or export with --format transformers."
        )
    with without_tensorflow():
        getattr(keras_hub.models, architecture.tokenizer)(str(found[0])).save_to_preset(str(directory))
