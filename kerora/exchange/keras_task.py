"""Writes a model as a KerasHub preset, which `TextClassifier.from_preset` or `CausalLM.from_preset` of KerasHub loads.

For ELECTRA and the decoders, KerasHub has no classifier. Then the folder also holds the head as a Keras model. See
`kerora.tasks.exchange_contract.PlainHead`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.compat import flatten_layers
from kerora.errors import PresetError
from kerora.exchange.huggingface_folder import uses_tanh_gelu
from kerora.models.keras_presets import EXACT_FILE, HEAD_FILE, LABELS_FILE
from kerora.models.presets import Preset
from kerora.models.task import TaskModel
from kerora.models.tokenizer_files import KERAS_ASSETS, TOKENIZER_FILE
from kerora.models.write_preset import rebuild, write_tokenizer
from kerora.runfolder import write_json
from kerora.tasks.exchange_contract import PlainHead
from kerora.tasks.registry import task_of_model

keras_hub = import_keras_hub()
Logits = Callable[[dict[str, np.ndarray]], Any]
# the names in the folders of DeBERTa, XLM-RoBERTa and ALBERT
SENTENCEPIECE_FILES = ("spm.model", "sentencepiece.bpe.model", "spiece.model")


def write_keras_task(model: TaskModel, directory: Path) -> None:
    """Write backbone, head, preprocessor and tokenizer.

    KerasHub fixes the activation and the epsilon of the layer norms for each architecture. A model can have others,
    such as the exact GELU of BERT. `EXACT_FILE` records them, and Kerora applies them when it loads the preset. Plain
    KerasHub does not read that file.

    Args:
        model: a classifier or language model without LoRA, float32.
        directory: an existing, empty folder.

    Raises:
        PresetError: the tokenizer of KerasHub cannot be made from the files of the base.
    """
    # no dropout, because Keras 3.15 leaves its fused attention for one, in inference too
    backbone = rebuild(model.backbone, "float32", 0.0)
    with without_tensorflow():
        backbone.save_to_preset(str(directory))  # first: KerasHub loads a tokenizer only from a folder with a model
    _write_tokenizer(model, directory)
    if labels := task_of_model(model).exchange.labels(model):
        write_json(directory / LABELS_FILE, labels)
    if has_task(model):
        _write_task(model, backbone, directory)
    else:
        plain_head(model).write(model, directory)
    # for kinds that KerasHub converts itself, its own config holds these settings
    if not model.preset.architecture.hub:
        write_json(directory / EXACT_FILE, exact_settings(model.backbone))


def has_task(model: TaskModel) -> bool:
    """Return whether KerasHub has a class for the task and the architecture of the model."""
    return hasattr(keras_hub.models, _task_class(model))


def plain_head(model: TaskModel) -> PlainHead:
    """Return how the head of the model's task stands beside a preset.

    Raises:
        PresetError: the task has no such form.
    """
    task = task_of_model(model)
    if task.exchange.PLAIN_HEAD is None:
        raise PresetError(
            f"KerasHub has no {task.title} of {model.preset.architecture.title}. Export with --format transformers."
        )
    return task.exchange.PLAIN_HEAD


def _write_task(model: TaskModel, backbone: Any, directory: Path) -> None:
    """Write the task, except for architectures whose preprocessor needs TensorFlow.

    For these, KerasHub makes the task from backbone and tokenizer when it loads the preset.
    """
    architecture = model.preset.architecture
    stem = architecture.tokenizer.removesuffix("Tokenizer")
    if architecture.needs_tensorflow:
        return
    with without_tensorflow():
        try:
            tokenizer = getattr(keras_hub.models, architecture.tokenizer).from_preset(str(directory))
        except ValueError as error:
            # KerasHub has the special tokens of a kind in its code. Models with the same layers can have others.
            reason = str(error).split(". ")[0]
            raise PresetError(
                f"KerasHub's {architecture.tokenizer} cannot read the vocabulary of {model.preset.spec}: {reason}. "
                "Export with --format transformers."
            ) from error
        preprocessor = getattr(keras_hub.models, f"{stem}{_task_name(model)}Preprocessor")(
            tokenizer, sequence_length=model.max_length
        )
        classes = task_of_model(model).exchange.classes(model)
        options = {"num_classes": len(classes)} if classes else {}
        task = getattr(keras_hub.models, _task_class(model))(backbone=backbone, preprocessor=preprocessor, **options)
        # KerasHub builds the task with a random head
        _copy_head(model, task, backbone)
        task.save_to_preset(str(directory))


def _task_class(model: TaskModel) -> str:
    return model.preset.architecture.backbone.replace("Backbone", _task_name(model))


def _task_name(model: TaskModel) -> str:
    return task_of_model(model).exchange.NAMES.keras_class


def exact_settings(backbone: Any) -> dict[str, Any]:
    """Return the activation and the epsilon of the layer norms, for which the config of KerasHub has no keys."""
    norms = [layer for layer in flatten_layers(backbone) if isinstance(layer, keras.layers.LayerNormalization)]
    return {"activation": "gelu_tanh" if uses_tanh_gelu(backbone) else "gelu", "epsilon": float(norms[-1].epsilon)}


def load_plain(directory: Path, model: TaskModel) -> Logits:
    """Load the preset with plain KerasHub. Return a function from inputs to logits."""
    if (directory / HEAD_FILE).is_file():
        return plain_head(model).load(directory)
    task = _plain_task(directory, model)
    # a preprocessor may give segment_ids, which not every backbone takes
    return lambda inputs: task({name: inputs[name] for name in inputs if name in task.backbone.input}, training=False)


def _plain_task(directory: Path, model: TaskModel) -> Any:
    # the comparison gives token ids to the model, so it works without the preprocessor that needs TensorFlow
    options = {"preprocessor": None} if model.preset.architecture.needs_tensorflow else {}
    with without_tensorflow():
        return getattr(keras_hub.models, _task_name(model)).from_preset(str(directory), **options)


def _copy_head(model: TaskModel, task: Any, backbone: Any) -> None:
    for layer in model.head_layers:
        if any(own.name == layer.name for own in task.layers):
            task.get_layer(layer.name).set_weights(layer.get_weights())
        else:  # a newly trained pooler, because the base had none. KerasHub has it in the backbone.
            backbone.get_layer(layer.name).set_weights(layer.get_weights())


def _write_tokenizer(model: TaskModel, directory: Path) -> None:
    preset, architecture = model.preset, model.preset.architecture
    if preset.source == "keras":
        shutil.copytree(preset.directory / KERAS_ASSETS, directory / KERAS_ASSETS)
        shutil.copyfile(preset.directory / TOKENIZER_FILE, directory / TOKENIZER_FILE)
        return
    if architecture.hub:
        _convert_tokenizer(preset, directory)
        return
    # KerasHub reads Unigram vocabularies only from a SentencePiece file, which tokenizer.json cannot replace
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


def _convert_tokenizer(preset: Preset, directory: Path) -> None:
    """Convert the tokenizer with KerasHub, for architectures that KerasHub converts completely."""
    kind = getattr(keras_hub.models, preset.architecture.tokenizer)
    try:
        with without_tensorflow():
            kind.from_preset(str(preset.directory)).save_to_preset(str(directory))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PresetError(
            f"KerasHub cannot convert the {preset.architecture.title} tokenizer in {preset.directory}: {reason}. "
            "Export with --format transformers."
        ) from error
