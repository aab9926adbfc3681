"""The base of the models that read a whole text: a pretrained encoder or decoder with a head."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import torch

from kerora.data.audit import Audit, audit_tokens
from kerora.data.batches import STATES, WINDOWS, Batches, padded_inputs, rectangle
from kerora.data.concerns import length_notes
from kerora.data.rows import Dataset, Rows
from kerora.data.tokens import cache_directory
from kerora.errors import ConfigError
from kerora.fast.blocks import pooled_only
from kerora.fast.frozen_start import FrozenStart
from kerora.models.checks import check_sizes, check_vocabulary
from kerora.models.heads import ClassifierHead
from kerora.models.long_texts import LongTexts, LongTokenizer
from kerora.models.presets import Preset
from kerora.models.raw_texts import RawRows
from kerora.models.task import TaskModel, computed_in_row_order, evaluation_tokens
from kerora.models.token_masking import TokenMasking
from kerora.models.tokenizer import checked_pairs
from kerora.settings.fit import SIDES, ModelConfig, check_whole

ROWS_AT_ONCE = 64
"""Windows of a document that go through the model together, so that the memory does not depend on its length."""


class WholeTextModel(TaskModel):
    """A pretrained encoder or decoder with a head: a plain `keras.Model` from token ids to one vector for each text.

    Output: float32 logits, shape (batch, outputs). The head has the same layers as in transformers for each
    architecture, and is always float32. A subclass says what the outputs mean.

    Attributes:
        classes: names of the outputs, in their order.
        preset: the source of the weights.
        backbone: the KerasHub backbone.
        tokenizer: converts text to inputs of the model.
        max_length: longest row in tokens, at most the maximum of the backbone.
        head: applies the layers of the head to the outputs of the backbone.
    """

    classes: tuple[str, ...]
    head: ClassifierHead
    task_type = "SEQ_CLS"
    default_pool = "mean"
    """How the logits of windows are joined if no setting says it."""
    _long_texts = LongTexts()
    _masking: TokenMasking | None = None

    @classmethod
    def with_head(
        cls,
        preset: Preset,
        names: Sequence[str],
        *,
        max_length: int,
        dtype: str,
        head_dropout: float,
        seed: int | None,
        truncate: str | None,
        name: str,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> Self:
        """Load the backbone and the tokenizer of a preset, and put a head with one output for each name on top.

        Args:
            preset: the pretrained model.
            names: names of the outputs.
            max_length: longest row in tokens, limited to the maximum of the backbone.
            dtype: weights and arithmetic of the backbone, one of `kerora.models.checks.DTYPES`.
            head_dropout: rate of the dropout before the dense layers of the head, 0 to 1.
            seed: seed of the weights of a new head. None takes the global seed of Keras.
            truncate: side on which long texts are cut, left or right. None takes what the tokenizer says.
            name: name of the model.
            arrays: weights of the head; see `ClassifierHead.assign`. Default: None, a new head.

        Raises:
            PresetError: the preset is damaged.
            ConfigError: a setting is out of range.
        """
        check_sizes(dtype, max_length)
        tokenizer = preset.load_tokenizer()
        backbone = preset.load_backbone(dtype)
        check_vocabulary(preset, backbone, tokenizer)
        shape = preset.architecture.head
        # A pooler without weights is replaced by a new layer of the head, which is trained.
        options: Any = {"use_pooler": shape.from_pooler and not preset.missing_pooler, "dropout": head_dropout}
        head = ClassifierHead(shape, backbone.hidden_dim, len(names), seed=seed, **options)
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
        model = cls(
            inputs,
            head(backbone(inputs), inputs["padding_mask"]),
            backbone=backbone,
            tokenizer=tokenizer,
            preset=preset,
            max_length=min(max_length, getattr(backbone, "max_sequence_length", None) or max_length),
            head_layers=head.layers,
            name=name,
        )
        model.classes, model.truncate, model.head = tuple(names), truncate, head
        if arrays is not None:
            head.assign(arrays)
        return model

    @property
    def output_count(self) -> int:
        """Number of outputs for a text."""
        return len(self.classes)

    def build_options(self) -> dict[str, Any]:
        """Return the arguments of `from_preset`, and what is set on the model later."""
        return {
            "classes": list(self.classes),
            "max_length": self.max_length,
            "dtype": self.backbone.dtype_policy.name,
            "head_dropout": self.head.dropout.rate,
            "truncate": self.truncate,
            "mask_share": self.mask_share,
        }

    def targets_of(self, labels: np.ndarray) -> np.ndarray:
        """Return the targets that the loss takes, from labels as a user gives them. A subclass defines it."""
        raise NotImplementedError

    def targets_for_loss(self, labels: np.ndarray) -> np.ndarray:
        """Return the targets of labels as the loss of the compiled model reads them. Default: see `targets_of`."""
        return self.targets_of(labels)

    def rows_of(self, rows: RawRows) -> Rows[Any]:
        """Return labelled texts as rows of a data set, with class numbers as targets."""
        return Rows.numbered(rows.texts, [int(number) for number in self.targets_of(rows.labels)], rows.pairs)

    def raw_batches(self, rows: RawRows, *, batch_size: int, shuffle: bool, by_length: bool, seed: int) -> Batches:
        """Make batches of texts, of which training needs labels."""
        if rows.labels is None and (shuffle or rows.weights is not None):
            raise ConfigError("The texts have no labels. Give one for each text: model.fit(texts, labels).")
        return Batches(
            self.row_tokenizer.encode(rows.texts, rows.pairs, max_length=self.max_length),
            None if rows.labels is None else self.targets_for_loss(rows.labels),
            batch_size=batch_size,
            pad_id=self.tokenizer.pad_id,
            shuffle=shuffle,
            seed=seed,
            row_weights=rows.weights,
            by_length=by_length,
        )

    def encode(self, texts: str | Sequence[str], pairs: str | Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Convert texts, or pairs of texts, to inputs of the model; see `TaskModel.encode`.

        If a text is divided into windows, each window is a row, and ``windows`` int64 (texts,) has their number for
        each text. The model then returns one output for each text.
        """
        first, second = checked_pairs(texts, pairs)
        table = self.row_tokenizer.encode(first, second, max_length=self.max_length)
        inputs = padded_inputs(table, np.arange(len(table)), self.tokenizer.pad_id)
        return inputs if table.windows is None else {**inputs, WINDOWS: table.windows}

    @property
    def long_texts(self) -> LongTexts:
        """How the model reads texts that are longer than `max_length`.

        Setting it raises `ConfigError` if the windows would not move, or if `truncate` was set to left and `long` does
        not cut at a side.
        """
        return self._long_texts

    @long_texts.setter
    def long_texts(self, long_texts: LongTexts) -> None:
        if long_texts.long != "cut-end":
            own, side = self.tokenizer.own_side, self.truncate
            check_whole(None if side == own else side, long_texts.long)
            long_texts.overlap(self.tokenizer, self.max_length)
            # What the files of the tokenizer say is about a cut at a side.
            self.tokenizer.truncation_side = "right"
        elif self._long_texts.long != "cut-end":
            self.tokenizer.truncation_side = self.tokenizer.own_side
        self._long_texts = long_texts

    def read_long(self, config: ModelConfig) -> None:
        """Read long texts as the settings say.

        Raises:
            ConfigError: the windows would not move, or the settings contradict each other.
        """
        # One after another, because an earlier side of truncation may not fit the new way, and the other way round.
        self.long_texts = LongTexts()
        self.truncate = config.truncate
        self.long_texts = LongTexts(config.long, config.stride, config.pool or self.default_pool)

    @property
    def row_tokenizer(self) -> Any:
        """The tokenizer that makes the rows of the model."""
        return self.tokenizer if self.long_texts.long == "cut-end" else LongTokenizer(self.tokenizer, self.long_texts)

    def audit(self, dataset: Dataset[Rows[Any]]) -> Audit:
        """Return the audit of a data set with the tokens that the model reads. The last one is kept."""
        key = (self.row_tokenizer.fingerprint, self.max_length)
        held = self.__dict__.get("_audit")
        if held is None or held[0] is not dataset or held[1] != key:
            held = (dataset, key, audit_tokens(dataset, self.row_tokenizer, self.max_length))
            # An ordinary assignment would let Keras track what is inside.
            self.__dict__["_audit"] = held
        found: Audit = held[2]
        return found

    def length_notes(self, dataset: Dataset[Rows[Any]]) -> list[str]:
        """Return a line on the rows that are longer than `max_length`. Without such rows there is none."""
        return length_notes(self.audit(dataset), self.long_texts.windows)

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
        if self.long_texts.long != "cut-end":
            check_whole(side, self.long_texts.long)
            side = "right"
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
        # Without the documents: each window has states of its own.
        table = dataclasses.replace(table, windows=None)
        by_length = Batches(table, pad_id=batches.pad_id, shuffle=False, max_tokens=max_tokens)
        return self.frozen_start.states(len(table.ids), _with_places(by_length), cache_directory())

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the outputs; called by Keras. Inputs with ``windows`` give one output for each document."""
        if isinstance(inputs, Mapping) and WINDOWS in inputs:
            rows = {name: value for name, value in inputs.items() if name != WINDOWS}
            return self._pooled(
                rows, inputs[WINDOWS], lambda part, _: self.call(part, training=training, mask=mask, **kwargs)
            )
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

    def _pooled(self, rows: Mapping[str, Any], counts: Any, compute: Callable[[Any, slice], Any]) -> Any:
        """Compute the rows a few at a time, and join the outputs of each document, (documents, outputs).

        Args:
            rows: inputs of the windows, each (rows, length).
            counts: number of windows of each document, (documents,).
            compute: returns the outputs of some rows, from their inputs and their place.
        """
        count, width = rows["token_ids"].shape
        if torch.as_tensor(counts).is_meta:  # Keras asks only for the shape.
            return compute(rows, slice(0, count))[: len(counts)]
        # Rows of 64 tokens on a CPU, as in other evaluations.
        size = max(1, (evaluation_tokens(ROWS_AT_ONCE) or ROWS_AT_ONCE * width) // width)
        places = [slice(start, start + size) for start in range(0, count, size)]
        parts = [compute({name: value[place] for name, value in rows.items()}, place) for place in places]
        lengths = torch.as_tensor(counts, device=parts[0].device).long()
        return torch.segment_reduce(torch.cat(parts), self.long_texts.pool, lengths=lengths, axis=0)

    def predict_logits(
        self,
        rows: Rows | str | Sequence[str],
        batch_size: int = 64,
        *,
        cache: bool = False,
        progress: Callable[[int], None] | None = None,
        adapter: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """Return the logits of rows, float32 (rows, outputs), in the order of the rows, without gradients.

        Rows of similar length share a batch.

        Args:
            rows: the rows, or texts. A single string is one text. Labels are ignored.
            batch_size: rows in a batch, of 64 tokens each; see `evaluation_tokens`. Default: 64.
            cache: whether to keep the tokens in the cache on disk. Default: False.
            progress: called with the number of rows done after each batch.
            adapter: name of the adapter of each row (see `load_adapter`), None for the base model. Rows of different
                adapters share one forward pass. If their heads have different numbers of outputs, the rows with fewer
                outputs end in -inf. Default: the active adapter for all rows.

        Raises:
            ConfigError: something other than texts was given, there is no such adapter, or the number of names is not
                the number of rows.
        """
        rows = rows if isinstance(rows, Rows) else unlabelled(rows)
        batches = self.batches(rows, batch_size=batch_size, cache=cache, max_tokens=evaluation_tokens(batch_size))
        if adapter is None:
            return computed_in_row_order(
                batches, self.output_count, lambda inputs: self(inputs, training=False), progress
            )
        if len(adapter) != len(rows):
            raise ConfigError(f"adapter needs a name for each of the {len(rows)} rows. Received: {len(adapter)}")
        states = self.adapters.states
        # Unknown names are left out here. `mixed` reports them.
        width = max((len(states[name].classes or ()) for name in adapter if name in states), default=0)
        # Batches are in the order of length, so the names must follow it.
        names = iter([adapter[number] for number in batches.order])

        def mixed(inputs: Any, part: Sequence[str | None]) -> Any:
            with self.adapters.mixed(part):
                logits = self(inputs, training=False)
            missing = width - logits.shape[-1]
            return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf) if missing else logits

        def compute(inputs: Any) -> Any:
            counts = inputs.get(WINDOWS)
            if counts is None:
                return mixed(inputs, [next(names) for _ in range(len(inputs["token_ids"]))])
            # A window has the adapter of its document.
            part = [name for count in counts for name in [next(names)] * count]
            rows = {name: value for name, value in inputs.items() if name != WINDOWS}
            return self._pooled(rows, counts, lambda rows, place: mixed(rows, part[place]))

        return computed_in_row_order(batches, width, compute, progress)


def unlabelled(texts: str | Sequence[str], pairs: str | Sequence[str] | None = None) -> Rows:
    """Return rows without targets from texts, or pairs of texts. A single string is one text."""
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
