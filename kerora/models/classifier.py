"""Text classification on a pretrained encoder or decoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerora.errors import ConfigError
from kerora.models.checks import checked_names
from kerora.models.presets import Preset, find_preset
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
        return cls.with_head(
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

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`, and what is set on the model later."""
        return {**super().build_options(), "label_values": list(self.label_values)}

    @classmethod
    def from_options(cls, preset: Preset, options: dict[str, Any]) -> "TextClassifier":
        """Build the model from what `build_options` returned."""
        later = {name: options.pop(name) for name in ("label_values", "mask_share")}
        model = cls.from_preset(preset, **options)
        model.label_values, model.mask_share = tuple(later["label_values"]), later["mask_share"]
        return model

    def default_loss(self) -> keras.losses.Loss:
        """Return the cross entropy of class numbers and logits."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def targets_of(self, labels: np.ndarray) -> np.ndarray:
        """Return the class numbers of labels, int64 (rows,). Labels are class numbers or class names.

        Raises:
            DataError: a name is unknown, a number is out of range, or a label is missing.
        """
        return class_numbers(labels, self.classes, self.label_values)

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
