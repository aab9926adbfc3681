"""The contract of Kerora's task models: plain Keras models that know their tokenizer and preset."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np

from kerora.models.presets import Preset
from kerora.models.tokenizer import TextTokenizer, Tokens

PAD_MULTIPLE = 8
"""Rows are padded to the longest of their batch, rounded up to a multiple of this."""


class TrainingStep(Protocol):
    """Replaces Keras' own training step when given to `compile`."""

    def train_step(self, model: "Task", data: Any) -> Mapping[str, Any]:
        """Do one step on a batch as Keras' data adapters give it, and return the logs."""
        ...


class Task(keras.Model):
    """A functional Keras model on top of a pretrained backbone.

    Its inputs are a mapping of ``token_ids`` and ``padding_mask``, and ``segment_ids`` where the backbone takes
    them, each int32 of shape (batch, length). `fit`, `evaluate` and `predict` are Keras' own.

    Args:
        inputs: symbolic inputs by name.
        outputs: symbolic outputs.
        backbone: the KerasHub backbone.
        tokenizer: turns text into the inputs.
        preset: where the weights came from.
        max_length: longest row in tokens.
        head_layers: the layers that are trained from scratch.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        outputs: Any,
        *,
        backbone: Any,
        tokenizer: TextTokenizer,
        preset: Preset,
        max_length: int,
        head_layers: Sequence[keras.layers.Layer],
        **kwargs: Any,
    ) -> None:
        super().__init__(inputs=dict(inputs), outputs=outputs, **kwargs)
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.preset = preset
        self.max_length = max_length
        self._head_names = tuple(layer.name for layer in head_layers)
        self._step: TrainingStep | None = None

    @property
    def head_layers(self) -> list[keras.layers.Layer]:
        """The layers that are trained from scratch, in the order of the forward pass."""
        return [self.get_layer(name) for name in self._head_names]

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Turn texts, or pairs of texts, into the model's inputs.

        Returns:
            ``token_ids``, ``padding_mask`` (1 for tokens, 0 for padding) and where the model takes them
            ``segment_ids``; int32, shape (rows, longest row rounded up to a multiple of 8, at most `max_length`).
        """
        return pad(
            self.tokenizer.encode(texts, pairs, max_length=self.max_length), self.tokenizer.pad_id, self.max_length
        )

    def compile(self, *args: Any, step: TrainingStep | None = None, **kwargs: Any) -> None:
        """Compile as Keras does.

        Args:
            step: object whose ``train_step(model, data)`` replaces Keras' own; None keeps Keras' own.
            *args: as in `keras.Model.compile`.
            **kwargs: as in `keras.Model.compile`.
        """
        super().compile(*args, **kwargs)
        self._step = step

    def train_step(self, data: Any) -> Any:
        """Do one training step; called by `fit`."""
        return super().train_step(data) if self._step is None else self._step.train_step(self, data)

    def get_config(self) -> dict[str, Any]:
        """Refuse: the model is rebuilt from its preset and an adapter, not from a Keras config.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no Keras config. Save a run folder, or the weights with save_weights, and "
            f"build the model with {type(self).__name__}.from_preset."
        )


def pad(tokens: Tokens, pad_id: int, max_length: int) -> dict[str, np.ndarray]:
    """Lay rows of tokens out as rectangular int32 arrays; see `Task.encode`."""
    lengths = np.diff(tokens.offsets)
    longest = int(lengths.max(initial=1))
    width = min(-(-longest // PAD_MULTIPLE) * PAD_MULTIPLE, max(max_length, longest))
    mask = np.arange(width) < lengths[:, None]
    inputs = {"token_ids": np.full(mask.shape, pad_id, np.int32), "padding_mask": mask.astype(np.int32)}
    inputs["token_ids"][mask] = tokens.ids
    if tokens.segments is not None:
        inputs["segment_ids"] = np.zeros(mask.shape, np.int32)
        inputs["segment_ids"][mask] = tokens.segments
    return inputs
