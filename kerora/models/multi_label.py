"""Several labels for each text, on a pretrained encoder or decoder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerora.data.label_sets import set_problem
from kerora.data.labels import label_of
from kerora.data.rows import Rows, indicators
from kerora.errors import ConfigError, DataError, listed, nearest
from kerora.lora.files import adapter_folder
from kerora.models.checks import checked_names
from kerora.models.presets import Preset, find_preset
from kerora.models.problem_types import SEVERAL_LABELS
from kerora.models.raw_texts import RawRows
from kerora.models.whole_text import WholeTextModel, unlabelled
from kerora.runfolder import read_json

LABELS_FILE = "labels.json"
"""File beside an adapter or in an export with the names of the labels and their thresholds."""
HALF = 0.5
"""The threshold of a label for which none was chosen."""
OWN = "default"
"""Name of the first adapter of a model."""


@keras.saving.register_keras_serializable("kerora")
class MultiLabelClassifier(WholeTextModel):
    """A pretrained encoder or decoder with a head for several labels per text: a plain `keras.Model`.

    Build one with `from_preset`. Output: float32 logits, shape (batch, classes). The sigmoid of a logit is the
    probability of a label, whatever the other labels are. A text gets the labels whose probability reaches their
    threshold, so it can get none.

    Attributes:
        classes: names of the labels, in the order of the logits.
        label_values: the label of each class in the training data, before it was renamed. Empty if unknown.
        preset: the source of the weights.
        backbone: the KerasHub backbone.
        tokenizer: converts text to inputs of the model.
        max_length: longest row in tokens, at most the maximum of the backbone.
        head: applies the layers of the head to the outputs of the backbone.
        positive_weights: weight of the positive rows of each label in a training of Kerora, or None.

    Example:
        ```python
        model = kerora.MultiLabelClassifier.from_preset("kerora_mini_en", ["joy", "anger", "fear"])
        model.compile()
        model.fit(texts, [["joy"], [], ["anger", "fear"]])
        ```
    """

    label_values: tuple[str, ...] = ()
    positive_weights: tuple[float, ...] | None = None
    task_name = "multi-label"
    default_pool = "max"
    """A label of one window of a long text is a label of the text."""
    several_labels = True

    @classmethod
    def from_preset(
        cls,
        preset: str | Path | Preset,
        classes: Sequence[str] | int | None = None,
        *,
        max_length: int = 256,
        dtype: str = "float32",
        head_dropout: float = 0.1,
        seed: int | None = None,
        truncate: str | None = None,
    ) -> "MultiLabelClassifier":
        """Build the model on a pretrained model.

        Args:
            preset: a value of `--preset`, or an open preset.
            classes: names or number of the labels of a new head. Default: None, the head of the preset with its
                weights, names and thresholds.
            max_length: longest row in tokens, limited to the maximum of the backbone. Default: 256.
            dtype: weights and arithmetic of the backbone: float32, bfloat16 or float16. mixed_bfloat16 and
                mixed_float16 have float32 weights. Default: float32.
            head_dropout: rate of the dropout before the dense layers of the head, 0 to 1. Default: 0.1.
            seed: seed of the weights of a new head. Default: None, the global seed of Keras.
            truncate: side on which long texts are cut, left or right. Default: None, what the tokenizer says.

        Raises:
            PresetError: the preset is not found or is damaged, or `classes` is None and the preset has no such head.
            ConfigError: there are fewer than two labels, a name occurs twice, or a setting is out of range.
        """
        opened = preset if isinstance(preset, Preset) else find_preset(preset)
        # The head comes first: a preset without a head then fails before the large backbone is loaded.
        arrays = opened.load_head(SEVERAL_LABELS) if classes is None else None
        names = checked_names(opened.names_of(SEVERAL_LABELS) or () if classes is None else classes)
        model = cls.with_head(
            opened,
            names,
            max_length=max_length,
            dtype=dtype,
            head_dropout=head_dropout,
            seed=seed,
            truncate=truncate,
            name="multi_label_classifier",
            arrays=arrays,
        )
        if classes is None:
            model.thresholds = thresholds_beside(opened.directory, names)
        return model

    @property
    def thresholds(self) -> np.ndarray:
        """The probability from which on a text gets each label, float64 (classes,). Default: 0.5.

        The values are those of the active adapter. Setting them raises `ConfigError` if there is not one number from 0
        to 1 for each label. `fit` sets them back to 0.5, because they belong to the weights they were chosen for.
        """
        return self.thresholds_of(self._active)

    @thresholds.setter
    def thresholds(self, values: Iterable[float] | float) -> None:
        known = self.__dict__.setdefault("_thresholds", {})
        known[self._active] = checked_thresholds(values, len(self.classes))

    def thresholds_of(self, name: str | None) -> np.ndarray:
        """Return the thresholds of an adapter, float64 (labels of its head,)."""
        found = self.__dict__.get("_thresholds", {}).get(name)
        if found is not None:
            return np.array(found)
        adapters = self.__dict__.get("_adapters")
        state = None if adapters is None else adapters.states.get(name)
        classes = self.classes if state is None or state.classes is None else state.classes
        return np.full(len(classes), HALF)

    @property
    def _active(self) -> str | None:
        adapters = self.__dict__.get("_adapters")
        # a model that is trained without LoRA has no first adapter
        if adapters is None or (adapters.active is None and OWN not in adapters.states):
            return OWN
        active: str | None = adapters.active
        return active

    def load_adapter(self, path: str | Path, name: str) -> None:
        """Load another adapter with its thresholds; see `TaskModel.load_adapter`."""
        super().load_adapter(path, name)
        found = thresholds_beside(adapter_folder(path), self.adapters.states[name].classes or ())
        self.__dict__.setdefault("_thresholds", {})[name] = found

    def forget_decision(self) -> None:
        """Set the thresholds to 0.5: others belong to the weights for which they were chosen."""
        self.__dict__.get("_thresholds", {}).pop(self._active, None)

    @property
    def adapter_info(self) -> dict[str, Any]:
        """Entries that the description of an adapter holds about its model."""
        return {**super().adapter_info, "problem_type": SEVERAL_LABELS}

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`, and what is set on the model later."""
        more = {"label_values": list(self.label_values), "thresholds": self.thresholds.tolist()}
        return {**super().build_options(), **more}

    @classmethod
    def from_options(cls, preset: Preset, options: dict[str, Any]) -> "MultiLabelClassifier":
        """Build the model from what `build_options` returned."""
        later = {name: options.pop(name) for name in ("label_values", "mask_share", "thresholds")}
        model = cls.from_preset(preset, **options)
        model.label_values, model.mask_share = tuple(later["label_values"]), later["mask_share"]
        model.thresholds = later["thresholds"]
        return model

    def default_loss(self) -> keras.losses.Loss:
        """Return the binary cross entropy of each label, averaged over the labels."""
        return keras.losses.BinaryCrossentropy(from_logits=True)

    def targets_of_rows(self, targets: Any) -> Any:
        """Return whether each row has each label, bool (rows, classes), from sets of class numbers; or None."""
        return None if targets is None else indicators(targets, len(self.classes))

    def rows_of(self, rows: RawRows) -> Rows[Any]:
        """Return labelled texts as rows of a data set, with sets of class numbers as targets."""
        sets = [tuple(np.flatnonzero(row).tolist()) for row in self.targets_of(rows.labels)]
        return Rows.numbered(rows.texts, sets, rows.pairs)

    def targets_of(self, labels: np.ndarray) -> np.ndarray:
        """Return which labels each row has, float32 (rows, classes).

        Args:
            labels: a matrix of numbers from 0 to 1 (rows, classes), or lists of class names or class numbers (rows,).
                Lists that all hold a 0 or 1 for each class are a matrix.

        Raises:
            DataError: a name is unknown, a number is out of range, or a label is missing.
        """
        if _is_matrix(labels, len(self.classes)):
            labels = np.array(labels.tolist())
        if labels.ndim == 2 and labels.dtype.kind in "biuf":
            return _checked_matrix(labels, self.classes)
        numbers = {str(label_of(name)): number for number, name in enumerate(self.classes)}
        values = {str(label_of(name)): number for number, name in enumerate(self.label_values)}
        found = [self._numbers(row, place, numbers, values) for place, row in enumerate(labels)]
        return indicators(found, len(self.classes)).astype(np.float32)

    def _numbers(self, row: Any, place: int, names: dict[str, int], values: dict[str, int]) -> list[int]:
        problem = None if isinstance(row, np.ndarray | tuple) else set_problem(row, "y", None)
        if problem is not None or isinstance(row, str):
            raise DataError(f"The labels at position {place} must be a list of labels. Received: {row!r:.60}")
        found = []
        for item in list(row) if isinstance(row, np.ndarray | list | tuple | set | frozenset) else [row]:
            if not isinstance(item, str | bool | np.bool_) and isinstance(item, int | np.integer):
                number = int(item) if 0 <= int(item) < len(self.classes) else None
            else:
                name = str(label_of(item))
                number = names.get(name, values.get(name))
            if number is None:
                raise DataError(
                    f"Label {item!r:.60} at position {place} is no class. The classes are {listed(self.classes)}."
                    f"{nearest(str(item), self.classes)}"
                )
            found.append(number)
        return found

    def predict_probabilities(
        self,
        rows: Rows | str | Sequence[str],
        batch_size: int = 64,
        *,
        cache: bool = False,
        progress: Callable[[int], None] | None = None,
        adapter: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the probability of each label, float64 (rows, classes): the sigmoid of the logits.

        The arguments and errors are those of `predict_logits`. The labels that an adapter does not have get 0.
        """
        return sigmoid(self.predict_logits(rows, batch_size, cache=cache, progress=progress, adapter=adapter))

    def predict_labels(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        adapter: Sequence[str | None] | None = None,
    ) -> list[list[str]]:
        """Return the labels of each text, or pair of texts, whose probability reaches their threshold.

        The arguments are those of `predict_logits`. A text without such a label gets an empty list.
        """
        found = self.predict_probabilities(unlabelled(texts, pairs), adapter=adapter)
        if adapter is None:
            return [self._named(row, self.classes, self.thresholds) for row in found]
        # each row has the labels and the thresholds of its own adapter
        classes = {name: self.adapters.states[name].classes or () for name in set(adapter)}
        limits = {name: self.thresholds_of(name) for name in set(adapter)}
        return [
            self._named(row[: len(classes[name])], classes[name], limits[name])
            for name, row in zip(adapter, found, strict=True)
        ]

    def _named(self, row: np.ndarray, classes: Sequence[str], thresholds: np.ndarray) -> list[str]:
        return [name for name, given in zip(classes, row >= thresholds, strict=True) if given]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, one by one, in float64."""
    wide = np.asarray(logits, dtype=np.float64)
    # of -|x|, because exp of a large number overflows
    small = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1 / (1 + small), small / (1 + small))


def checked_thresholds(values: Iterable[float] | float, classes: int) -> np.ndarray:
    """Return thresholds as float64 (classes,). One number is the threshold of all classes.

    Raises:
        ConfigError: there is not one number from 0 to 1 for each class.
    """
    try:
        given = np.asarray(values if isinstance(values, int | float) else list(values), dtype=np.float64)
    except (TypeError, ValueError):
        given = np.array(np.nan)
    found = np.full(classes, given) if given.ndim == 0 else given
    # NaN fails both comparisons
    if found.shape != (classes,) or not ((found >= 0) & (found <= 1)).all():
        raise ConfigError(
            f"thresholds must be {classes} numbers from 0 to 1, one for each class. Received: {values!r:.100}"
        )
    return found


def thresholds_beside(folder: Path, classes: Sequence[str]) -> np.ndarray:
    """Return the thresholds in the labels.json of a folder, or 0.5 for each class if there are none.

    Raises:
        ConfigError: the thresholds do not fit the classes.
        RunError: the file is damaged.
    """
    path = folder / LABELS_FILE
    content = read_json(path) if path.is_file() else {}
    if "thresholds" not in content or content.get("classes") != list(classes):
        return np.full(len(classes), HALF)
    try:
        return checked_thresholds(content["thresholds"], len(classes))
    except ConfigError as error:
        raise ConfigError(f"{path} is damaged: {error} Write the file again.") from None


def _is_matrix(labels: np.ndarray, classes: int) -> bool:
    """Tell whether lists all hold a 0 or 1 for each class. As class numbers, all rows would have the same labels."""
    rows = labels.tolist() if labels.dtype == object and labels.ndim == 1 else []
    return len(rows) > 0 and all(
        isinstance(row, list | tuple) and len(row) == classes and all(value in (0, 1) for value in row) for row in rows
    )


def _checked_matrix(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    if labels.shape[1] != len(classes):
        raise DataError(
            f"A matrix of labels has a column for each class, and there are {len(classes)}. Received: "
            f"{labels.shape[1]} columns."
        )
    matrix = labels.astype(np.float32)
    wrong = np.argwhere(~((matrix >= 0) & (matrix <= 1)))
    if len(wrong):
        place, number = wrong[0].tolist()
        raise DataError(
            f"A matrix of labels holds numbers from 0 to 1. Position {place}, class '{classes[number]:.40}': "
            f"{labels[place, number]!s:.40}."
        )
    return matrix
