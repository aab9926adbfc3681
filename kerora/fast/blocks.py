"""Computes a frozen transformer block as a whole instead of layer by layer.

A block of KerasHub's `TransformerEncoder` or `TransformerDecoder` calls a dozen layers. Each call costs time in Python,
an einsum that copies, and a pass over memory for the bias. If only LoRA weights of the block are trained,
`compute_block` computes the same result from the weights of the layers. Otherwise the layers of Keras compute it.

A classifier uses one token of the last block. With `pooled_only`, that block computes keys and values of all tokens,
but everything else only for this token. For the other tokens 2 of 12 width^2 multiplications are left.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import torch

from kerora.backend import import_keras_hub
from kerora.fast.attention import attend
from kerora.fast.feed_forward import frozen_feed_forward, known_activation
from kerora.fast.products import Projection, frozen_products, projection_of, share_dropout
from kerora.fast.switch import is_plain

keras_hub = import_keras_hub()
_Encoder: Any = keras_hub.layers.TransformerEncoder
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class Pooling:
    """Whether the last block must compute only the token that a classifier uses."""

    only: bool = False


@contextlib.contextmanager
def pooled_only(backbone: keras.Model) -> Iterator[None]:
    """Inside the `with` block, let the last block of a backbone compute only the token that a classifier uses.

    The sequence output then has one token: the first token, or for a decoder the last token that is not padding. All
    tokens are returned if Keras computes the block, or if the backbone was not prepared by `use_whole_blocks`.
    """
    pooling: Pooling | None = getattr(backbone, "pooling", None)
    if pooling is None:
        yield
        return
    pooling.only = True
    try:
        yield
    finally:
        pooling.only = False


class WholeEncoder(_Encoder):
    """An encoder block that is computed as a whole if its weights are frozen."""

    pooling: Pooling | None = None
    """Shared with the backbone. Only the last block has it."""

    def call(
        self, inputs: Any, padding_mask: Any = None, attention_mask: Any = None, training: Any = None, **options: Any
    ) -> Any:
        """Return the block's output for `inputs` (batch, length, width)."""
        # `compute_block` knows only padding. It returns no attention scores.
        special = attention_mask is not None or any(options.values())
        parts = None if special else frozen_parts(self, inputs, bool(training))
        if parts is None:
            return super().call(inputs, padding_mask, attention_mask, training=training, **options)
        mask = None if padding_mask is None else padding_mask.bool()[:, None]  # (batch, 1, length)
        scale = self._self_attention_layer._inverse_sqrt_key_dim
        places = None
        if self.pooling is not None and self.pooling.only:
            # The head of an encoder reads only the first token.
            places = torch.zeros(inputs.shape[0], dtype=torch.int64, device=inputs.device)
        return compute_block(parts, inputs, lambda q, k, v: attend(q, k, v, mask, scale), places)


# Keras uses the class name as the path of a layer in a weight file. The files must stay compatible with KerasHub.
WholeEncoder.__name__ = _Encoder.__name__


def use_whole_blocks(backbone: keras.Model) -> None:
    """Let the encoder blocks of a backbone be computed as a whole if possible. Weights and names do not change."""
    if is_plain():
        return
    # Changed blocks count too, so a second call finds the last block again.
    blocks = [layer for layer in backbone._flatten_layers() if type(layer) in (_Encoder, WholeEncoder)]
    for block in blocks:
        block.__class__ = WholeEncoder
    # ALBERT calls one block several times, and only the last of these calls could use one token, so it is left out. Its
    # `transformer_layers` holds groups of blocks, so the lists differ even if both have one element.
    if blocks and list(getattr(backbone, "transformer_layers", ())) == blocks:
        share_pooling(backbone, blocks[-1])


def share_pooling(backbone: keras.Model, last: Any) -> None:
    """Connect the last block of a backbone with `pooled_only`."""
    backbone.pooling = last.pooling = Pooling()


@dataclass(frozen=True)
class BlockParts:
    """The frozen weights of a block.

    Attributes:
        block: the Keras layer.
        training: whether the dropout of LoRA is active.
        query: projection of the attention; key, value and output likewise.
        key: see `query`.
        value: see `query`.
        output: see `query`.
        inner: the first layer of the feed-forward part.
        outer: its second layer.
    """

    block: Any
    training: bool
    query: Projection
    key: Projection
    value: Projection
    output: Projection
    inner: Projection
    outer: Projection


def frozen_parts(block: Any, inputs: Any, training: bool) -> BlockParts | None:
    """Return the parts of a block that can be computed as a whole, or None if the layers of Keras must compute it.

    The result is None for symbolic inputs, during an export, with active dropout, if other weights are trained, and if
    `projection_of` returns None for a layer.

    Args:
        block: a `TransformerEncoder` or `TransformerDecoder`.
        inputs: its inputs.
        training: whether it is called in training.
    """
    if not isinstance(inputs, torch.Tensor) or torch.compiler.is_compiling():
        return None
    # `_normalize` gives gamma and beta no gradient. A bias setting that trains beta alone also trains the biases of the
    # dense layers, and `projection_of` then returns None.
    if (training and block.dropout > 0) or any(norm.gamma.value.requires_grad for norm in _norms(block)):
        return None
    attention = block._self_attention_layer
    layers = (
        attention._query_dense,
        attention._key_dense,
        attention._value_dense,
        attention._output_dense,
        block._feedforward_intermediate_dense,
        block._feedforward_output_dense,
    )
    found = [projection_of(layer, inputs.dtype) for layer in layers]
    projections = [projection for projection in found if projection is not None]
    # Query, key and value share one dropout mask.
    if len(projections) < len(found) or not share_dropout(projections[:3]):
        return None
    return BlockParts(block, training, *projections)


def compute_block(
    parts: BlockParts, inputs: torch.Tensor, attention: Attend, places: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the output of a block, (batch, length, width).

    Args:
        parts: see `frozen_parts`.
        inputs: (batch, length, width).
        attention: takes query, key and value (batch, length, heads, size), and returns the context in the same shape.
        places: position of the token of each row to compute, int64 (batch,); the output is then one token long.
            Default: None, all tokens.
    """
    block, training = parts.block, parts.training
    (batch, length, width), heads = inputs.shape, block.num_heads
    # Pre-norm blocks normalize the inputs of each part. Post-norm blocks (BERT) normalize the sum after it.
    before, after = _norms(block) if block.normalize_first else (None, None)
    rows = inputs.reshape(-1, width)
    normed = rows if before is None else _normalize(before, rows)
    if places is None:
        query, key, value = frozen_products(normed, (parts.query, parts.key, parts.value), training)
    else:
        # Keys and values need all tokens. `chosen` holds the index of each wanted token in the flattened rows.
        chosen = torch.arange(batch, device=places.device) * length + places
        key, value = frozen_products(normed, (parts.key, parts.value), training)
        rows, normed = rows[chosen], normed[chosen]
        (query,) = frozen_products(normed, (parts.query,), training)
    # Each is (batch, tokens, heads, size). A query of one token has fewer tokens than the keys.
    split = (tensor.view(batch, -1, heads, tensor.shape[1] // heads) for tensor in (query, key, value))
    context = attention(*split).reshape(len(rows), -1)
    (attended,) = frozen_products(context, (parts.output,), training)
    # In place, because autograd does not save the outputs of `frozen_products`.
    rows = attended.add_(rows)
    if before is None:
        rows = _normalize(block._self_attention_layer_norm, rows)
    normed = rows if after is None else _normalize(after, rows)
    rows = _feed_forward(parts, normed).add_(rows)
    if after is None:
        rows = _normalize(block._feedforward_layer_norm, rows)
    return rows.view(batch, -1, width)


def _feed_forward(parts: BlockParts, rows: torch.Tensor) -> torch.Tensor:
    function = parts.block._feedforward_intermediate_dense.activation
    known = known_activation(function)
    if known is not None:
        return frozen_feed_forward(rows, parts.inner, parts.outer, known, parts.training)
    (inside,) = frozen_products(rows, (parts.inner,), parts.training)
    (outside,) = frozen_products(function(inside), (parts.outer,), parts.training)
    return outside


def _norms(block: Any) -> tuple[Any, Any]:
    return block._self_attention_layer_norm, block._feedforward_layer_norm


def _normalize(norm: Any, rows: torch.Tensor) -> torch.Tensor:
    gamma, beta = (variable.value.detach().to(rows.dtype) for variable in (norm.gamma, norm.beta))
    return torch.nn.functional.layer_norm(rows, rows.shape[-1:], gamma, beta, norm.epsilon)
