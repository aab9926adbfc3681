"""Lets decoders of KerasHub use the causal attention kernel, which needs no mask.

The decoders of KerasHub build a mask of shape (batch, length, length) for every layer and call. In Kerora, padding
follows the text, and no token of the text attends to it, so the causal kernel needs no mask. Only rows with several
documents that must not see each other need a mask. It is made once for all layers (`kerora.models.decoders`).
"""

import functools
from typing import Any, Protocol

import keras
import torch

from kerora.backend import import_keras_hub
from kerora.compat import mask_method
from kerora.fast.attention import attend, plain_attention, plain_is_faster
from kerora.fast.blocks import Pooling, compute_block, frozen_parts, share_pooling
from kerora.fast.switch import is_plain

keras_hub = import_keras_hub()
_Decoder: Any = keras_hub.layers.TransformerDecoder
_Attention: Any = keras_hub.layers.CachedMultiHeadAttention

WHOLE = ("decoder_padding_mask", "training")
"""Arguments with which a decoder layer can be computed as a whole."""
ATTENTIONS = ("_self_attention_layer", "self_attn", "attention")
"""Names of the attention layer in the decoders of KerasHub."""


class RowLayout(Protocol):
    """The part of `kerora.models.decoders.RowLayout` that the attention needs."""

    seen: torch.Tensor | None


class CausalDecoder(_Decoder):
    """A decoder layer with causal attention. It is computed as a whole if its weights are frozen."""

    row_layout: RowLayout
    pooling: Pooling | None = None

    def call(self, decoder_sequence: Any, *arguments: Any, **options: Any) -> Any:
        """Return the block's output for `decoder_sequence` (batch, length, width)."""
        padding, training = options.get("decoder_padding_mask"), bool(options.get("training"))
        whole = not arguments and not any(value is not None for name, value in options.items() if name not in WHOLE)
        parts = frozen_parts(self, decoder_sequence, training) if whole else None
        if parts is None:
            return super().call(decoder_sequence, *arguments, **options)
        scale, seen = self._self_attention_layer._inverse_sqrt_key_dim, self.row_layout.seen
        # Without a mask the last token is not known. With several documents it does not see all tokens.
        if self.pooling is None or not self.pooling.only or padding is None or seen is not None:
            return compute_block(parts, decoder_sequence, lambda q, k, v: causal_attention(q, k, v, scale, seen))
        # The last token sees all tokens that are not padding.
        mask = padding.bool()
        # A row without tokens gives its first position.
        places = (mask.sum(dim=1) - 1).clamp_min(0)
        return compute_block(parts, decoder_sequence, lambda q, k, v: attend(q, k, v, mask[:, None], scale), places)

    def _compute_self_attention_mask(self, **options: Any) -> Any:
        cached = options.get("self_attention_cache") is not None
        if cached or options["decoder_attention_mask"] is not None or not options["use_causal_mask"]:
            return super()._compute_self_attention_mask(**options)
        # No mask means causal attention for `CausalAttention`.
        return None


class CausalAttention(_Attention):
    """Attention in which no mask means: each token sees itself and the tokens before it in its document."""

    row_layout: RowLayout

    def _compute_attention(
        self, query: Any, key: Any, value: Any, attention_mask: Any = None, *options: Any, **named_options: Any
    ) -> tuple[Any, Any]:
        special = any(options[1:]) or any(value for name, value in named_options.items() if name != "training")
        if attention_mask is not None or special:
            # An explicit mask already holds the order of the tokens.
            return super()._compute_attention(query, key, value, attention_mask, *options, **named_options)
        return causal_attention(query, key, value, self._inverse_sqrt_key_dim, self.row_layout.seen), None


# Keras uses the class name as the path of a layer in a weight file. The files must stay compatible with KerasHub.
CausalDecoder.__name__, CausalAttention.__name__ = _Decoder.__name__, _Attention.__name__


def causal_attention(query: Any, key: Any, value: Any, scale: float, seen: Any = None) -> torch.Tensor:
    """Return softmax(scale * Q K^T) V in which each token sees itself and the tokens before it.

    Args:
        query: (batch, length, heads, size), as Keras' layer projects it; key and value likewise.
        key: see `query`.
        value: see `query`.
        scale: factor of the scores.
        seen: which tokens each token sees, bool (batch, length, length). Default: None, all tokens before it.

    Returns:
        (batch, length, heads, size).
    """
    if plain_is_faster(query):
        length = query.shape[1]
        seen = torch.ones(1, length, length, dtype=torch.bool).tril() if seen is None else seen
        return plain_attention(query, key, value, seen, scale)
    q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
    mask = None if seen is None else seen[:, None]
    fused = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return fused.transpose(1, 2)


def use_causal_kernel(backbone: keras.Model) -> None:
    """Let the decoder layers of a backbone use the causal kernel. Their weights and names do not change.

    The masks of KerasHub are kept for attention with more than scaled products (Gemma) and for rows longer than a
    sliding window. All layers keep the documents of a row separate. The dropout of the backbone must be 0, as in
    `Preset.load_backbone`.

    Args:
        backbone: a backbone whose decoder layers have its ``row_layout``, and their original class in ``keras_class``.
    """
    if is_plain():
        return
    layout: RowLayout = backbone.row_layout
    for layer in backbone._flatten_layers():
        keras_class = getattr(type(layer), "keras_class", None)
        if keras_class is None:
            continue  # Not a decoder layer, or handled before.
        if keras_class is _Decoder:
            attention = layer._self_attention_layer
            # The causal kernel drops no scores, and a cross attention is not causal.
            if layer._cross_attention_layer is None and type(attention) is _Attention and attention._dropout == 0:
                layer.__class__, attention.__class__ = CausalDecoder, CausalAttention
                attention.row_layout = layout
                # Each block takes the connection from the block before, so the last one keeps it.
                share_pooling(backbone, layer)
        else:
            _teach(layer, layout)


def _teach(layer: Any, layout: RowLayout) -> None:
    """Let a decoder that does not use the common layers of KerasHub use the causal kernel if possible."""
    attentions = (getattr(layer, name, None) for name in ATTENTIONS)
    # The attention of Gemma has no such factor. It caps its scores, so it keeps the masks of KerasHub.
    scaled: list[Any] = [part for part in attentions if hasattr(part, "_inv_norm_factor")]
    decoder: Any = type(layer)
    method = mask_method(decoder)
    if not scaled or method is None:
        return
    layer.__class__ = _taught_decoder(decoder, method)
    for part in scaled:
        attention: Any = type(part)
        part.__class__ = _taught_attention(attention)
        part.row_layout = layout


@functools.cache
def _taught_decoder(decoder: Any, method: str) -> Any:
    """Return a subclass that makes no mask if the kernel needs none."""
    original = getattr(decoder, method)

    def mask(self: Any, *arguments: Any, **options: Any) -> Any:
        # With a cache the mask is not square, so KerasHub makes it.
        if options.get("self_attention_cache") is None and _is_inside_window(self, options):
            return None
        return original(self, *arguments, **options)

    # With `keras_class` None, `use_causal_kernel` does not handle the layer again.
    return type(decoder.__name__, (decoder,), {method: mask, "keras_class": None})


@functools.cache
def _taught_attention(attention: Any) -> Any:
    """Return a subclass in which no mask means causal."""
    original: Any = attention._compute_attention

    def attend(self: Any, query: Any, key: Any, value: Any, attention_mask: Any = None, *rest: Any, **more: Any) -> Any:
        if attention_mask is not None:
            return original(self, query, key, value, attention_mask, *rest, **more)
        groups = query.shape[2] // key.shape[2]
        key, value = (tensor.repeat_interleave(groups, dim=2) if groups > 1 else tensor for tensor in (key, value))
        return causal_attention(query, key, value, self._inv_norm_factor, self.row_layout.seen)

    return type(attention.__name__, (attention,), {"_compute_attention": attend})


def _is_inside_window(decoder: Any, options: Any) -> bool:
    sequence = options.get("decoder_sequence")
    window = getattr(decoder, "sliding_window", None) or getattr(decoder, "sliding_window_size", None)
    if options.get("decoder_attention_mask") is not None or sequence is None:
        return False
    # A row that is not longer than the window sees all tokens before it.
    return not window or (isinstance(sequence, torch.Tensor) and sequence.shape[1] <= window)
