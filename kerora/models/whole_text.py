"""The base of the models that read a whole text: a pretrained encoder or decoder with a head."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import torch

from kerora.data.batches import STATES, Batches, rectangle
from kerora.data.rows import Rows
from kerora.data.tokens import cache_directory
from kerora.errors import ConfigError
from kerora.fast.blocks import pooled_only
from kerora.fast.frozen_start import FrozenStart
from kerora.models.checks import check_sizes, check_vocabulary
from kerora.models.heads import ClassifierHead
from kerora.models.presets import Preset
from kerora.models.raw_texts import RawRows
from kerora.models.task import TaskModel, computed_in_row_order, evaluation_tokens
from kerora.models.token_masking import TokenMasking
from kerora.models.tokenizer import checked_pairs
from kerora.settings.fit import SIDES


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
            self.tokenizer.encode(rows.texts, rows.pairs, max_length=self.max_length),
            None if rows.labels is None else self.targets_for_loss(rows.labels),
            batch_size=batch_size,
            pad_id=self.tokenizer.pad_id,
            shuffle=shuffle,
            seed=seed,
            row_weights=rows.weights,
            by_length=by_length,
        )

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

        def compute(inputs: Any) -> Any:
            part = [next(names) for _ in range(len(inputs["token_ids"]))]
            with self.adapters.mixed(part):
                logits = self(inputs, training=False)
            missing = width - logits.shape[-1]
            return torch.nn.functional.pad(logits, (0, missing), value=-torch.inf) if missing else logits

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
