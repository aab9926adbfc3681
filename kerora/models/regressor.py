"""Prediction of numbers on a pretrained encoder or decoder."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.numbers import NumberRows, Scale, number_column
from kerora.data.rows import Rows
from kerora.errors import ConfigError, DataError
from kerora.models.presets import Preset, find_preset
from kerora.models.problem_types import NUMBERS
from kerora.models.raw_texts import RawRows, is_raw, raw_rows
from kerora.models.regression_loss import RegressionLoss
from kerora.models.text_fit import keras_arguments
from kerora.models.whole_text import WholeTextModel, unlabelled


@keras.saving.register_keras_serializable("kerora")
class TextRegressor(WholeTextModel):
    """A pretrained encoder or decoder with a head of one or more numbers: a `keras.Model` from token ids to numbers.

    Build one with `from_preset`. Output: float32 numbers in the units of the targets, shape (batch, targets). Inside,
    the head predicts standardised numbers: each output is ``head * deviation + mean`` with the `scale` of the training
    targets. The first `fit` takes the scale from its targets.

    Attributes:
        classes: names of the targets, in the order of the outputs.
        scale: mean and deviation of each target.
        preset: the source of the weights.
        backbone: the KerasHub backbone.
        tokenizer: converts text to inputs of the model.
        max_length: longest row in tokens, at most the maximum of the backbone.
        head: applies the layers of the head to the outputs of the backbone.

    Example:
        ```python
        model = kerora.TextRegressor.from_preset("kerora_mini_en", ["stars"])
        model.enable_lora()
        model.compile()
        model.fit(["What a film.", "Dull from start to end."], [5.0, 1.5], epochs=3)
        print(model.predict(["Not bad."]))
        ```
    """

    task_name = "regression"
    label_values: tuple[str, ...] = ()

    @classmethod
    def from_preset(
        cls,
        preset: str | Path | Preset,
        targets: Sequence[str] | int | None = None,
        *,
        max_length: int = 256,
        dtype: str = "float32",
        head_dropout: float = 0.1,
        seed: int | None = None,
        truncate: str | None = None,
        scale: Scale | None = None,
    ) -> "TextRegressor":
        """Build a regressor on a pretrained model.

        Args:
            preset: a value of `--preset`, or an open preset.
            targets: names or number of the targets of a new head. Default: None, the head of the preset with its
                weights and names.
            max_length: longest row in tokens, limited to the maximum of the backbone. Default: 256.
            dtype: weights and arithmetic of the backbone, as in `TextClassifier.from_preset`. Default: float32.
            head_dropout: rate of the dropout before the dense layers of the head, 0 to 1. Default: 0.1.
            seed: seed of the weights of a new head. Default: None, the global seed of Keras.
            truncate: side on which long texts are cut, left or right. Default: None, what the tokenizer says.
            scale: mean and deviation of the targets. Default: None, the numbers as they are until the first fit.

        Raises:
            PresetError: the preset is not found or is damaged, or `targets` is None and the preset has no such head.
            ConfigError: there is no target, a name occurs twice, or a setting is out of range.
        """
        opened = preset if isinstance(preset, Preset) else find_preset(preset)
        arrays = opened.load_head(NUMBERS) if targets is None else None
        names = _names(opened.names_of(NUMBERS) or () if targets is None else targets)
        options: dict[str, Any] = {"max_length": max_length, "dtype": dtype, "head_dropout": head_dropout}
        options |= {"seed": seed, "truncate": truncate}
        model = cls.with_head(opened, names, name="text_regressor", arrays=arrays, **options)
        model.set_scale(scale)
        return model

    @property
    def scale(self) -> Scale:
        """Mean and deviation of each target. Without a scale, those that leave numbers as they are."""
        found: Scale | None = self.__dict__.get("_scale")
        return found or Scale.plain(len(self.classes))

    def set_scale(self, scale: Scale | None) -> None:
        """Set the scale of the targets. None waits for the targets of the first fit."""
        if scale is not None and not len(scale.mean) == len(scale.deviation) == len(self.classes):
            raise ConfigError(f"The scale must hold a mean and a deviation for each of {len(self.classes)} targets.")
        # an ordinary assignment would let Keras track it
        self.__dict__["_scale"] = scale

    def scale_of(self, targets: Any) -> Scale:
        """Return the scale of training targets (rows, targets) for this model.

        The head of a decoder has no bias, as in transformers, and could not hold a mean in an export. So its mean is 0.
        """
        return Scale.of(targets, centred=bool(self.head.logits.use_bias))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the numbers; called by Keras."""
        outputs = super().call(inputs, training=training, mask=mask, **kwargs)
        scale = self.scale
        if scale.is_plain or self.__dict__.get("_unscaled"):
            return outputs
        mean, deviation = (
            torch.tensor(values, dtype=torch.float32, device=outputs.device) for values in (scale.mean, scale.deviation)
        )
        return outputs.float() * deviation + mean

    def compile(self, *args: Any, step: Any = None, **kwargs: Any) -> None:
        """Compile as Keras does. Everything may be left out.

        Defaults: the optimizer of `TaskModel.compile`, the mean squared error in units of the deviation, and the mean
        absolute error as a metric.
        """
        given = keras_arguments(keras.Model.compile, self, args, kwargs)
        if given.get("loss") is None:
            given["loss"] = RegressionLoss(deviation=self)
            given.setdefault("metrics", ["mae"])
        super().compile(step=step, **given)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `fit` of Keras does: ``model.fit(texts, numbers)``.

        If the model has no scale yet, it is taken from the numbers. See `kerora.models.text_fit.TextFit.fit`.
        """
        given = keras_arguments(keras.Model.fit, self, args, kwargs)
        if "_scale" not in self.__dict__ or self.__dict__["_scale"] is None:
            targets = self._targets_in(given)
            if targets is not None:
                # as in Keras, the last rows are held out, and they must not be known
                share = given.get("validation_split", 0.0) if given.get("validation_data") is None else 0.0
                targets = targets[: math.floor(len(targets) * (1 - share)) or None]
                self.set_scale(self.scale_of(targets))
        return super().fit(**given)

    def _targets_in(self, given: Mapping[str, Any]) -> np.ndarray | None:
        """Return the targets in the arguments of `fit`, or None if they come as a stream."""
        x, y = given.get("x"), given.get("y")
        if is_raw(x):
            labels = raw_rows(x, y).labels
            return None if labels is None else self.targets_of(labels)
        found = getattr(x, "labels", None) if y is None else y
        return None if found is None else self.targets_of(np.asarray(found))

    def targets_of(self, labels: np.ndarray) -> np.ndarray:
        """Return numbers as targets, float64 (rows, targets).

        Raises:
            DataError: a label is missing or no finite number, or a row has another number of labels.
        """
        count = len(self.classes)
        try:
            numbers = np.asarray(labels, np.float64)
        except (TypeError, ValueError):
            wrong = next((value for value in np.asarray(labels).reshape(-1) if not _is_number(value)), None)
            raise DataError(f"The label {str(wrong)!r:.60} is no number. Give a number for each text.") from None
        if numbers.ndim == 1 and count == 1:
            numbers = numbers[:, None]
        if numbers.ndim != 2 or numbers.shape[1] != count:
            raise DataError(
                f"The model has {count} target{'s' * (count > 1)} ({', '.join(self.classes)}), so labels have the "
                f"shape (rows, {count}). Received: shape {np.shape(labels)}."
            )
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers).all(axis=1))[0])
            raise DataError(f"The label at position {row} is not finite. Leave out rows without a number.")
        return numbers

    def fold_scale(self) -> None:
        """Write the scale into the weights of the head, which then predicts numbers as other tools read them."""
        scale, logits = self.scale, self.head.logits
        if scale.is_plain:
            return
        kernel = np.asarray(keras.ops.convert_to_numpy(logits.kernel), np.float64)
        logits.kernel.assign((kernel * scale.deviation).astype(np.float32))  # (width, targets)
        if logits.use_bias:
            bias = np.asarray(keras.ops.convert_to_numpy(logits.bias), np.float64)
            logits.bias.assign((bias * scale.deviation + scale.mean).astype(np.float32))
        self.set_scale(Scale.plain(len(self.classes)))

    def rows_of(self, rows: RawRows) -> NumberRows:
        """Return texts with numbers as rows of a data set."""
        plain = unlabelled(rows.texts, rows.pairs)
        return NumberRows(plain.texts, plain.ids, number_column(self.targets_of(rows.labels)), plain.pairs)

    @property
    def adapter_info(self) -> dict[str, Any]:
        """Entries that the description of an adapter holds about its model."""
        return {**super().adapter_info, "problem_type": NUMBERS, **self.head_state}

    @property
    def head_state(self) -> dict[str, Any]:
        """What belongs to an adapter beside its weights: mean and deviation."""
        return {name: list(values) for name, values in dataclasses.asdict(self.scale).items()}

    @head_state.setter
    def head_state(self, recorded: Mapping[str, Any]) -> None:
        if "mean" in recorded and "deviation" in recorded:
            self.set_scale(Scale(tuple(recorded["mean"]), tuple(recorded["deviation"])))
        else:
            # an adapter of PEFT was trained on the numbers as they are
            self.set_scale(Scale.plain(len(self.classes)))

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`, and what is set on the model later."""
        found = super().build_options()
        scale = self.head_state if self.__dict__.get("_scale") is not None else None
        # `from_preset` calls the names of the outputs targets
        return {"targets": found.pop("classes"), **found, "scale": scale}

    @classmethod
    def from_options(cls, preset: Preset, options: dict[str, Any]) -> "TextRegressor":
        """Build the model from what `build_options` returned."""
        later = {name: options.pop(name) for name in ("scale", "mask_share")}
        model = cls.from_preset(preset, **options)
        model.mask_share = later["mask_share"]
        if later["scale"] is not None:
            model.head_state = later["scale"]
        return model

    def predict_logits(
        self,
        rows: Rows | str | Sequence[str],
        batch_size: int = 64,
        *,
        cache: bool = False,
        progress: Callable[[int], None] | None = None,
        adapter: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the numbers of rows, float32 (rows, targets), in the order of the rows, without gradients.

        The arguments are those of `WholeTextModel.predict_logits`.
        """
        if adapter is None:
            return super().predict_logits(rows, batch_size, cache=cache, progress=progress)
        # Rows of several adapters share a batch, and each adapter has a scale of its own.
        self.__dict__["_unscaled"] = True
        try:
            found = super().predict_logits(rows, batch_size, cache=cache, progress=progress, adapter=adapter)
        finally:
            self.__dict__["_unscaled"] = False
        for row, name in enumerate(adapter):
            state = self.adapters.states[name].head_state or self.head_state
            count = len(state["mean"])
            found[row, :count] = found[row, :count] * state["deviation"] + state["mean"]
        return found

    def predict_numbers(self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None) -> np.ndarray:
        """Return the numbers of each text, or pair of texts, float32 (texts, targets)."""
        return self.predict_logits(unlabelled(texts, pairs))

    def _identity(self) -> dict[str, Any]:
        """Return what a file and a model must have in common. Weights without their scale would give other numbers."""
        return {**super()._identity(), "scale of the targets": [*self.scale.mean, *self.scale.deviation]}


def _names(targets: Sequence[str] | int) -> tuple[str, ...]:
    names = tuple(f"target_{number}" for number in range(targets)) if isinstance(targets, int) else tuple(targets)
    # a text would count as a sequence of one-letter names
    if isinstance(targets, str) or not names:
        raise ConfigError(f"A regressor needs a list of at least one target. Received: {targets!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Names of targets must differ. Received twice: {', '.join(map(repr, twice))}")
    return names


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
