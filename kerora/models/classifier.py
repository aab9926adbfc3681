"""Text classification on a pretrained encoder or decoder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.batches import STATES, Batches, rectangle
from kerora.data.rows import Rows
from kerora.data.tokens import cache_directory
from kerora.errors import ConfigError, DataError, PresetError
from kerora.fast.blocks import pooled_only
from kerora.fast.frozen_start import FrozenStart
from kerora.models.compiling import reads_numbers
from kerora.models.heads import ClassifierHead
from kerora.models.presets import Preset, find_preset
from kerora.models.raw_texts import RawRows, class_numbers
from kerora.models.task import TaskModel, computed_in_row_order, evaluation_tokens
from kerora.models.token_masking import TokenMasking
from kerora.models.tokenizer import TextTokenizer, checked_pairs
from kerora.settings.fit import SIDES

DTYPES = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")
SHORTEST = 8
"""Smallest `max_length`: room for the special tokens of a pair and a few tokens of text."""


@keras.saving.register_keras_serializable("kerora")
class TextClassifier(TaskModel):
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

    classes: tuple[str, ...]
    label_values: tuple[str, ...] = ()
    head: ClassifierHead
    task_name = "classification"
    task_type = "SEQ_CLS"
    _masking: TokenMasking | None = None

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
        _check_sizes(dtype, max_length)
        classes = _agreed(classes, num_classes)
        # The head comes first: a preset without a head then fails before the large backbone is loaded.
        arrays = opened.load_head() if classes is None else None
        # The classes come from the preset only with its head.
        names = _class_names(opened.class_names or () if classes is None else classes)
        tokenizer = opened.load_tokenizer()
        backbone = opened.load_backbone(dtype)
        check_vocabulary(opened, backbone, tokenizer)
        shape = opened.architecture.head
        # A pooler without weights is replaced by a new layer of the head, which is trained.
        options: Any = {"use_pooler": shape.from_pooler and not opened.missing_pooler, "dropout": head_dropout}
        head = ClassifierHead(shape, backbone.hidden_dim, len(names), seed=seed, **options)
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
        model = cls(
            inputs,
            head(backbone(inputs), inputs["padding_mask"]),
            backbone=backbone,
            tokenizer=tokenizer,
            preset=opened,
            max_length=min(max_length, getattr(backbone, "max_sequence_length", None) or max_length),
            head_layers=head.layers,
            name="text_classifier",
        )
        model.classes, model.truncate, model.head = names, truncate, head
        if arrays is not None:
            head.assign(arrays)
        return model

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`, and what is set on the model later."""
        return {
            "classes": list(self.classes),
            "max_length": self.max_length,
            "dtype": self.backbone.dtype_policy.name,
            "head_dropout": self.head.dropout.rate,
            "truncate": self.truncate,
            "label_values": list(self.label_values),
            "mask_share": self.mask_share,
        }

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

    def raw_batches(self, rows: RawRows, *, batch_size: int, shuffle: bool, by_length: bool, seed: int) -> Batches:
        """Make batches of texts, of which training needs labels."""
        if rows.labels is None and (shuffle or rows.weights is not None):
            raise ConfigError("The texts have no labels. Give one for each text: model.fit(texts, labels).")
        return Batches(
            self.tokenizer.encode(rows.texts, rows.pairs, max_length=self.max_length),
            None if rows.labels is None else self._targets_for_loss(rows.labels),
            batch_size=batch_size,
            pad_id=self.tokenizer.pad_id,
            shuffle=shuffle,
            seed=seed,
            row_weights=rows.weights,
            by_length=by_length,
        )

    def _targets_for_loss(self, labels: np.ndarray) -> np.ndarray:
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

    @property
    def mask_share(self) -> float:
        """Fraction of the tokens that is masked during training; see `TokenMasking`.

        Setting it raises `ConfigError` if the value is below 0 or not below 1, or if the tokenizer has no mask token.
        """
        return 0.0 if self._masking is None else self._masking.share

    @mask_share.setter
    def mask_share(self, share: float) -> None:
        if not 0 <= share < 1:
            raise ConfigError(f"mask_share must be 0 or more and below 1. Received: {share}")
        if share and self.tokenizer.mask_id is None:
            raise ConfigError(
                f"--mask-share {share:g} needs a mask token, but the tokenizer of {self.preset.name} has none. "
                "Leave out --mask-share."
            )
        self._masking = TokenMasking(share, self.tokenizer) if share else None

    @property
    def truncate(self) -> str | None:
        """Side on which long texts are cut: left or right. Setting None takes what the tokenizer says."""
        return self.tokenizer.truncation_side

    @truncate.setter
    def truncate(self, side: str | None) -> None:
        if side not in (None, *SIDES):
            raise ConfigError(f"truncate must be {' or '.join(SIDES)}. Received: {side!r}")
        self.tokenizer.truncation_side = side or self.tokenizer.own_side

    @property
    def frozen_start(self) -> FrozenStart | None:
        """The frozen blocks that are skipped for batches with states, or None."""
        start: FrozenStart | None = self.__dict__.get("_frozen_start")
        return start

    def use_frozen_start(self, start: FrozenStart | None) -> None:
        """Skip the frozen blocks for batches that hold the states of these blocks. None undoes it."""
        # An ordinary assignment would let Keras track the parts as layers.
        self.__dict__["_frozen_start"] = start

    def frozen_states(self, batches: Batches, max_tokens: int) -> np.ndarray:
        """Compute the outputs of the frozen blocks for all rows, as `states` of the batches.

        Args:
            batches: their table of tokens is computed. The order of the batches does not matter.
            max_tokens: tokens in a batch.

        Returns:
            The bits of the states as integers, (tokens, width), memory-mapped. The file is deleted with the array.

        Raises:
            RunError: there is not enough space on the disk.
        """
        assert self.frozen_start is not None
        table = batches.table
        # Rows of similar length share a batch, so little padding is computed.
        by_length = Batches(table, pad_id=batches.pad_id, shuffle=False, max_tokens=max_tokens)
        return self.frozen_start.states(len(table.ids), _with_places(by_length), cache_directory())

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the outputs; called by Keras."""
        start = self.frozen_start
        if start is not None and isinstance(inputs, Mapping) and STATES in inputs:
            with pooled_only(self.backbone):
                # The lower blocks are not computed, so their tokens cannot be masked here.
                return start.logits(inputs[STATES], inputs["padding_mask"], training)
        if self._masking is not None and training:
            inputs = self._masking(inputs)
        with pooled_only(self.backbone):
            # The head reads one token, so the last block need not compute the others.
            return super().call(inputs, training=training, mask=mask, **kwargs)

    def predict_logits(
        self,
        rows: Rows | str | Sequence[str],
        batch_size: int = 64,
        *,
        cache: bool = False,
        progress: Callable[[int], None] | None = None,
        adapter: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the logits of rows, float32 (rows, classes), in the order of the rows, without gradients.

        Rows of similar length share a batch.

        Args:
            rows: the rows, or texts. A single string is one text. Labels are ignored.
            batch_size: rows in a batch, of 64 tokens each; see `evaluation_tokens`. Default: 64.
            cache: whether to keep the tokens in the cache on disk. Default: False.
            progress: called with the number of rows done after each batch.
            adapter: name of the adapter of each row (see `load_adapter`), None for the base model. Rows of different
                adapters share one forward pass. If their heads have different numbers of classes, the rows with fewer
                classes end in -inf. Default: the active adapter for all rows.

        Raises:
            ConfigError: something other than texts was given, there is no such adapter, or the number of names is not
                the number of rows.
        """
        rows = rows if isinstance(rows, Rows) else _unlabelled(rows)
        batches = self.batches(rows, batch_size=batch_size, cache=cache, max_tokens=evaluation_tokens(batch_size))
        if adapter is None:
            return computed_in_row_order(
                batches, len(self.classes), lambda inputs: self(inputs, training=False), progress
            )
        if len(adapter) != len(rows):
            raise ConfigError(f"adapter needs a name for each of the {len(rows)} rows. Received: {len(adapter)}")
        states = self.adapters.states
        # Unknown names are left out here. `mixed` reports them.
        width = max((len(states[name].classes or ()) for name in adapter if name in states), default=0)
        # Batches are in the order of length, so the names must follow it.
        names = iter([adapter[number] for number in batches.order])

        def compute(inputs: Any) -> Any:
            part = [next(names) for _ in range(len(inputs["token_ids"]))]
            with self.adapters.mixed(part):
                logits = self(inputs, training=False)
            missing = width - logits.shape[-1]
            return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf) if missing else logits

        return computed_in_row_order(batches, width, compute, progress)

    def predict_labels(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        adapter: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Return the name of the most probable class of each text, or pair of texts; see `predict_logits`."""
        best = self.predict_logits(_unlabelled(texts, pairs), adapter=adapter).argmax(axis=1)
        if adapter is None:
            return [self.classes[number] for number in best]
        classes = [self.adapters.states[name].classes or () for name in adapter]
        return [names[number] for names, number in zip(classes, best, strict=True)]


def _unlabelled(texts: str | Sequence[str], pairs: str | Sequence[str] | None = None) -> Rows:
    first, second = checked_pairs(texts, pairs)
    return Rows.numbered(first, pairs=second)


def _with_places(batches: Batches) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Yield the inputs of batches, their mask of tokens, and the places of these tokens in the table."""
    table, order, done = batches.table, batches.order, 0
    for index in range(len(batches)):
        inputs = batches[index][0]
        # `order` lists the rows batch by batch.
        rows = order[done : done + len(inputs["token_ids"])]
        starts = table.offsets[rows]
        yield inputs, *rectangle(starts, table.offsets[rows + 1] - starts, table.max_length)
        done += len(rows)


def _check_sizes(dtype: str, max_length: int) -> None:
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}. Received: {dtype!r}")
    if max_length < SHORTEST:
        raise ConfigError(f"max_length must be {SHORTEST} or more. Received: {max_length}")


def _agreed(classes: Sequence[str] | int | None, count: int | None) -> Sequence[str] | int | None:
    """Return the classes from the two settings that name them."""
    if count is None or classes is None:
        return count if classes is None else classes
    number = classes if isinstance(classes, int) else len(classes)
    if number != count:
        raise ConfigError(f"num_classes={count}, but there are {number} classes. Leave one of the two out.")
    return classes


def _class_names(classes: Sequence[str] | int) -> tuple[str, ...]:
    names = tuple(str(number) for number in range(classes)) if isinstance(classes, int) else tuple(classes)
    # A text would count as a sequence of one-letter names.
    if isinstance(classes, str) or len(names) < 2:
        raise ConfigError(f"A classifier needs at least two classes. Received: {classes!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"Class names must differ. Received twice: {', '.join(map(repr, twice))}")
    return names


def check_vocabulary(preset: Preset, backbone: Any, tokenizer: TextTokenizer) -> None:
    """Check that the model has an embedding for each token of the tokenizer.

    Raises:
        PresetError: an embedding is missing.
    """
    rows, tokens = backbone.token_embedding.input_dim, tokenizer.vocabulary_size
    # More embeddings than tokens are usual: many models round the number up.
    if tokens <= rows:
        return
    added = ", ".join(map(repr, tokenizer.pieces[rows:][:5])) + (", ..." if tokens > rows + 5 else "")
    remedy = (
        "If they were added to the tokenizer, give the model rows for them in transformers: "
        "model.resize_token_embeddings(len(tokenizer)), then save both again."
        if preset.source == "huggingface"
        else "Save backbone and tokenizer of the same model again."
    )
    raise PresetError(
        f"{preset.directory}: the tokenizer has {tokens:,} tokens, but the model has embeddings for {rows:,}. Without "
        f"one are {added}. {remedy} If not, the files belong to different models."
    )
