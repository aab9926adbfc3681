"""The classification heads, with the same layers as in transformers for each architecture."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerora.models.architectures import Head

INITIAL_SPREAD = 0.02
"""Standard deviation of the kernels of a new head, as `initializer_range` in transformers."""


class ClassifierHead:
    """The layers of a classification head, all in float32.

    An encoder has dropout, `pooled_dense` and `logits` on the first token. A decoder has only `logits`, on the last
    token. With a pretrained pooler in the backbone (BERT, ALBERT) there is no `pooled_dense`. If the weights of the
    pooler are missing, a new `pooled_dense` replaces it and is trained like `logits`.

    Args:
        shape: the head of the architecture.
        width: width of the output of the backbone.
        classes: number of classes.
        dropout: rate before the dense layers, 0 to 1.
        use_pooler: whether to use the pooled output of the backbone.
        seed: seed of the initial kernels. With None the global seed of Keras is used.
    """

    def __init__(
        self, shape: Head, width: int, classes: int, *, dropout: float, use_pooler: bool, seed: int | None
    ) -> None:
        self.use_pooler = use_pooler
        self.last_token = shape.last_token
        self.first_dropout = self.pooled_dense = None
        if not use_pooler and not shape.last_token:
            if shape.dropout_first:
                self.first_dropout = keras.layers.Dropout(dropout, dtype="float32", name="pooled_dropout")
            self.pooled_dense = _dense(width, "pooled_dense", seed, shape.activation)
        self.dropout = keras.layers.Dropout(dropout, dtype="float32", name="output_dropout")
        # With the same seed both kernels would start with the same numbers.
        seed = None if seed is None else seed + 1
        self.logits = _dense(classes, "logits", seed, use_bias=not shape.last_token)

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers that are trained from scratch."""
        return [layer for layer in (self.pooled_dense, self.logits) if layer is not None]

    def __call__(self, outputs: Any, padding_mask: Any) -> Any:
        """Return logits, float32, shape (batch, classes).

        Args:
            outputs: the outputs of the backbone.
            padding_mask: 1 for tokens, 0 for the padding after them, (batch, length).
        """
        features = self.features(outputs, padding_mask)
        for layer in (self.first_dropout, self.pooled_dense, self.dropout, self.logits):
            features = features if layer is None else layer(features)
        return features

    def features(self, outputs: Any, padding_mask: Any) -> Any:
        """Return what the first layer reads, (batch, width). The arguments are those of a call."""
        if self.use_pooler:
            return outputs["pooled_output"]
        sequence = outputs["sequence_output"] if isinstance(outputs, Mapping) else outputs
        # The first token is [CLS] or <s>.
        return last_token(sequence, padding_mask) if self.last_token else sequence[:, 0, :]

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the weights from arrays named ``logits/kernel``, ``pooled_dense/bias`` and so on."""
        for layer in self.layers:
            layer.kernel.assign(arrays[f"{layer.name}/kernel"])
            if layer.use_bias:
                layer.bias.assign(arrays[f"{layer.name}/bias"])


def last_token(sequence: Any, padding_mask: Any) -> Any:
    """Return the features of the last token of each row, (batch, width). An empty row gives its first position.

    Args:
        sequence: (batch, length, width), or only the last token, (batch, 1, width).
        padding_mask: 1 for tokens, 0 for the padding after them, (batch, length).
    """
    # `pooled_only` leaves only the wanted token.
    if sequence.shape[1] == 1:
        return keras.ops.squeeze(sequence, axis=1)
    # This selects by a mask and a sum. The exporter of torch would fix the batch size of a gather.
    last = keras.ops.maximum(keras.ops.sum(keras.ops.cast(padding_mask, "int32"), axis=1, keepdims=True), 1)
    numbers = keras.ops.cumsum(keras.ops.ones_like(padding_mask), axis=1)
    return keras.ops.sum(keras.ops.where(keras.ops.equal(numbers, last)[..., None], sequence, 0), axis=1)


def reset_head(layers: Sequence[keras.layers.Layer], seed: int | None) -> None:
    """Set the dense layers of a head to the weights of a new head with this seed."""
    for layer in layers:
        # The seeds that `ClassifierHead` gives its layers.
        own = None if seed is None else seed + (layer.name == "logits")
        layer.kernel.assign(_initializer(own)(layer.kernel.shape, dtype="float32"))
        if layer.use_bias:
            layer.bias.assign(keras.ops.zeros_like(layer.bias))


def _initializer(seed: int | None) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=INITIAL_SPREAD, seed=seed)


def _dense(
    units: int, name: str, seed: int | None, activation: str | None = None, use_bias: bool = True
) -> keras.layers.Dense:
    initializer = _initializer(seed)
    return keras.layers.Dense(
        units, activation=activation, use_bias=use_bias, kernel_initializer=initializer, dtype="float32", name=name
    )
