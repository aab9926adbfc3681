"""Text classification on a pretrained encoder or decoder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerora.data.rows import Rows
from kerora.errors import ConfigError, DataError
from kerora.lora.temperature import read_temperature
from kerora.models.checks import checked_names
from kerora.models.compiling import reads_numbers
from kerora.models.presets import Preset, find_preset
from kerora.models.probabilities import softmax
from kerora.models.raw_texts import class_numbers
from kerora.models.whole_text import WholeTextModel, unlabelled


@keras.saving.register_keras_serializable("kerora")
class TextClassifier(WholeTextModel):
    """A pretrained encoder or decoder with a classification head: a plain `keras.Model` from token ids to logits.

    Build one with `from_preset`. Output: float32 logits, shape (batch, classes). The head has the same layers as in
    transformers for each architecture, and is always float32.

    Attributes:
        classes: class names, in the order of the logits.
        label_values: the label of each class in the training data, before it was renamed. Empty if unknown.
        temperature: divides the logits in `predict_probabilities`. 1 if none was fitted, and after a training.
        preset: the source of the weights.
        backbone: the KerasHub backbone.
        tokenizer: converts text to inputs of the model.
        max_length: longest row in tokens, at most the maximum of the backbone.
        head: applies the layers of the head to the outputs of the backbone.

    Example:
        ```python
        model = kerora.TextClassifier.from_preset("distil_bert_base_en_uncased", ["neg", "pos"])
        logits = model.predict(model.encode(["What a film.", "Dull from start to end."]))
        ```
    """

    label_values: tuple[str, ...] = ()
    temperature: float = 1.0
    task_name = "classification"

    @classmethod
    def from_preset(
        cls,
        preset: str | Path | Preset,
        classes: Sequence[str] | int | None = None,
        *,
        num_classes: int | None = None,
        max_length: int = 256,
        dtype: str = "float32",
        head_dropout: float = 0.1,
        seed: int | None = None,
        truncate: str | None = None,
    ) -> "TextClassifier":
        """Build a classifier on a pretrained model.

        Args:
            preset: a value of `--preset`, or an open preset.
            classes: names or number of the classes of a new head. Default: None, the head of the preset with its
                weights and names.
            num_classes: number of the classes, as KerasHub calls it. Default: None.
            max_length: longest row in tokens, limited to the maximum of the backbone. Default: 256.
            dtype: weights and arithmetic of the backbone: float32, bfloat16 or float16. mixed_bfloat16 and
                mixed_float16 have float32 weights. Default: float32.
            head_dropout: rate of the dropout before the dense layers of the head, 0 to 1. Default: 0.1.
            seed: seed of the weights of a new head. Default: None, the global seed of Keras.
            truncate: side on which long texts are cut, left or right. Default: None, what the tokenizer says.

        Raises:
            PresetError: the preset is not found or is damaged, or `classes` is None and the preset has no head.
            ConfigError: there are fewer than two classes, a name occurs twice, or a setting is out of range.
        """
        opened = preset if isinstance(preset, Preset) else find_preset(preset)
        classes = _agreed(classes, num_classes)
        # The head comes first: a preset without a head then fails before the large backbone is loaded.
        arrays = opened.load_head() if classes is None else None
        # The classes come from the preset only with its head.
        names = checked_names(opened.class_names or () if classes is None else classes)
        model = cls.with_head(
            opened,
            names,
            max_length=max_length,
            dtype=dtype,
            head_dropout=head_dropout,
            seed=seed,
            truncate=truncate,
            name="text_classifier",
            arrays=arrays,
        )
        # of the formats with a head, Kerora's exports of Keras presets alone have this file
        if arrays is not None and opened.source == "keras":
            model.temperature = read_temperature(opened.directory)
        return model

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`, and what is set on the model later."""
        return {**super().build_options(), "label_values": list(self.label_values), "temperature": self.temperature}

    @classmethod
    def from_options(cls, preset: Preset, options: dict[str, Any]) -> "TextClassifier":
        """Build the model from what `build_options` returned."""
        later = {name: options.pop(name) for name in ("label_values", "mask_share")}
        temperature = options.pop("temperature", 1.0)  # files of older versions have none
        model = cls.from_preset(preset, **options)
        model.label_values, model.mask_share = tuple(later["label_values"]), later["mask_share"]
        model.temperature = temperature
        return model

    def forget_decision(self) -> None:
        """Set the temperature to 1: another one belongs to the weights for which it was fitted."""
        self.temperature = 1.0

    def default_loss(self) -> keras.losses.Loss:
        """Return the cross entropy of class numbers and logits."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def targets_of(self, labels: np.ndarray) -> np.ndarray:
        """Return the class numbers of labels, int64 (rows,). Labels are class numbers or class names.

        Raises:
            DataError: a name is unknown, a number is out of range, or a label is missing.
        """
        return class_numbers(labels, self.classes, self.label_values)

    def targets_for_loss(self, labels: np.ndarray) -> np.ndarray:
        """Return the class numbers of labels, or one-hot labels, as the loss of the model reads them.

        Raises:
            DataError: the loss reads the other kind, or see `targets_of`.
        """
        targets, loss = self.targets_of(labels), getattr(self, "loss", None)
        numbers = reads_numbers(loss)
        if numbers is True and targets.ndim > 1:
            raise DataError(
                f"Labels have the shape {targets.shape}, but the loss reads class numbers, shape ({len(targets)},). "
                "Give labels.argmax(axis=1), or compile with keras.losses.CategoricalCrossentropy(from_logits=True)."
            )
        if numbers is False and targets.ndim == 1:
            raise DataError(
                "Labels are classes, but the loss reads one-hot labels. Leave loss out of compile, or give "
                "keras.utils.to_categorical(numbers)."
            )
        return targets

    def predict_probabilities(
        self,
        rows: Rows | str | Sequence[str],
        batch_size: int = 64,
        *,
        cache: bool = False,
        progress: Callable[[int], None] | None = None,
        adapter: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the class probabilities of rows, float64 (rows, classes): the softmax of logits / temperature.

        The arguments are those of `predict_logits`. With `adapter`, each row has the temperature of its adapter, and
        the classes that an adapter does not have get the probability 0.

        Raises:
            ConfigError: see `predict_logits`.
        """
        logits = self.predict_logits(rows, batch_size, cache=cache, progress=progress, adapter=adapter)
        if adapter is None:
            return softmax(logits, self.temperature)
        return softmax(logits, np.array([[self.adapters.temperature_of(name)] for name in adapter]))

    def predict_labels(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        adapter: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Return the name of the most probable class of each text, or pair of texts; see `predict_logits`."""
        best = self.predict_logits(unlabelled(texts, pairs), adapter=adapter).argmax(axis=1)
        if adapter is None:
            return [self.classes[number] for number in best]
        classes = [self.adapters.states[name].classes or () for name in adapter]
        return [names[number] for names, number in zip(classes, best, strict=True)]


def _agreed(classes: Sequence[str] | int | None, count: int | None) -> Sequence[str] | int | None:
    """Return the classes from the two settings that name them."""
    if count is None or classes is None:
        return count if classes is None else classes
    number = classes if isinstance(classes, int) else len(classes)
    if number != count:
        raise ConfigError(f"num_classes={count}, but there are {number} classes. Leave one of the two out.")
    return classes
