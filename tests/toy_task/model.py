"""A pretrained encoder with one output: the number of words."""

from pathlib import Path
from typing import Any

import keras

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.models.heads import ClassifierHead
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset, find_preset
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig

keras_hub = import_keras_hub()


class WordCounter(TaskModel):
    task_name = "count-words"
    task_type = "SEQ_CLS"

    @classmethod
    def from_preset(cls, preset: Preset, *, max_length: int, dtype: str = "float32", seed: int | None = 0) -> Any:
        tokenizer, backbone = preset.load_tokenizer(), preset.load_backbone(dtype)
        head = ClassifierHead(
            preset.architecture.head, backbone.hidden_dim, 1, dropout=0.0, use_pooler=False, seed=seed
        )
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
        outputs = head(backbone(inputs), inputs["padding_mask"])
        parts = {"backbone": backbone, "tokenizer": tokenizer, "preset": preset, "head_layers": head.layers}
        model = cls(inputs, outputs, max_length=min(max_length, backbone.max_sequence_length), **parts)
        model.head = head
        return model


def build(config: FitConfig, preset: Preset, dataset: Any) -> WordCounter:
    return of_run(config, preset, None, backbone_dtype(config))


def of_run(config: FitConfig, preset: Preset, head: None, dtype: str) -> WordCounter:
    return WordCounter.from_preset(preset, max_length=config.model.max_length, dtype=dtype, seed=config.training.seed)


def read_head(run: RunFolder) -> None:
    """The settings say all."""


def head_of(model: WordCounter) -> None:
    """The settings say all."""


def write_head(run: RunFolder, model: WordCounter) -> None:
    """The adapter holds the head."""


def plain_copy(model: WordCounter, seed: int | None = None) -> WordCounter:
    return WordCounter.from_preset(model.preset, max_length=model.max_length, seed=seed)


def of_folder(directory: Path, like: WordCounter) -> WordCounter:
    with without_tensorflow():
        plain = keras_hub.models.TextClassifier.from_preset(str(directory))
    model = WordCounter.from_preset(find_preset(str(directory)), max_length=like.max_length)
    for layer in model.head_layers:
        layer.set_weights(plain.get_layer(layer.name).get_weights())
    return model


def shape(model: WordCounter) -> str:
    return "one number"
