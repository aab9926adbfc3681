"""One vector for each text: the mean of the states of its tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from kerora.data.batches import Batches
from kerora.data.rows import Rows
from kerora.models.checks import check_sizes, check_vocabulary
from kerora.models.long_texts import LongTexts, LongTokenizer
from kerora.models.presets import Preset
from kerora.models.task import TaskModel, computed_in_row_order, evaluation_tokens
from kerora.models.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Embedder:
    """Turns texts into vectors with a backbone: the mean of the last states over all tokens that are not padding.

    Special tokens count, as in sentence-transformers. A text that is longer than `max_length` is divided into windows
    that overlap by a quarter. Its vector is the mean of the windows, weighted by their tokens, so no text is cut. The
    vectors are not normalised.

    Attributes:
        backbone: the KerasHub backbone, with an adapter if it has one.
        tokenizer: the tokenizer of the backbone.
        max_length: longest window in tokens.
    """

    backbone: Any
    tokenizer: TextTokenizer
    max_length: int

    @classmethod
    def of_model(cls, model: TaskModel, max_length: int | None = None) -> "Embedder":
        """Return the embedder of a model, with its adapter. `max_length` None takes that of the model.

        Raises:
            ConfigError: `max_length` is below the smallest length.
        """
        if max_length is not None:
            check_sizes("float32", max_length)
        return cls(model.backbone, model.tokenizer, _limited(model.backbone, max_length or model.max_length))

    @classmethod
    def of_preset(cls, preset: Preset, max_length: int, dtype: str) -> "Embedder":
        """Load the backbone and the tokenizer of a preset.

        Args:
            preset: the pre-trained model.
            max_length: longest window in tokens, limited to the maximum of the backbone.
            dtype: weights and arithmetic of the backbone.

        Raises:
            PresetError: the preset is damaged.
            ConfigError: a value is out of range.
        """
        check_sizes(dtype, max_length)
        tokenizer, backbone = preset.load_tokenizer(), preset.load_backbone(dtype)
        check_vocabulary(preset, backbone, tokenizer)
        return cls(backbone, tokenizer, _limited(backbone, max_length))

    @property
    def width(self) -> int:
        """Length of a vector."""
        return int(self.backbone.hidden_dim)

    def embed(self, rows: Rows[Any], batch_size: int = 64) -> np.ndarray:
        """Return a vector for each row, float32 (rows, width), without gradients.

        Args:
            rows: the texts, or pairs of texts.
            batch_size: rows in a batch, of 64 tokens each on a CPU. Default: 64.
        """
        whole = LongTokenizer(self.tokenizer, LongTexts("windows"))
        table = whole.encode(list(rows.texts), _listed(rows.pairs), max_length=self.max_length)
        counts = table.windows
        # Each window is a row here. The windows of a text are joined below.
        table = replace(table, windows=None)
        batches = Batches(
            table,
            batch_size=batch_size,
            pad_id=self.tokenizer.pad_id,
            shuffle=False,
            max_tokens=evaluation_tokens(batch_size),
        )
        vectors = computed_in_row_order(batches, self.width, self._means)
        if counts is None:
            return vectors
        weights = np.diff(table.offsets).astype(np.float32)[:, None]
        starts = np.cumsum(counts) - counts
        sums: np.ndarray = np.add.reduceat(vectors * weights, starts) / np.add.reduceat(weights, starts)
        return sums

    def _means(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        taken = {name: inputs[name] for name in self.backbone.input}
        outputs = self.backbone(taken, training=False)
        states = (outputs["sequence_output"] if isinstance(outputs, Mapping) else outputs).float()
        mask = torch.as_tensor(inputs["padding_mask"], device=states.device).float()[..., None]  # (rows, length, 1)
        # In float32: bfloat16 would lose digits in a sum over hundreds of tokens.
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _limited(backbone: Any, max_length: int) -> int:
    # Most decoders with rotary positions have no maximum.
    return min(max_length, getattr(backbone, "max_sequence_length", None) or max_length)


def _listed(texts: Any) -> list[str] | None:
    return None if texts is None else list(texts)
