"""Causal attention without a mask: decoders of KerasHub, taught to use the causal kernel.

KerasHub's decoders build a mask of shape (batch, length, length) for every layer and call. Rows here are padded
behind the text, where no token of the text looks, so the causal kernel needs no mask at all.
"""

from typing import Any

import keras
import torch

from kerora.backend import import_keras_hub
from kerora.models.attention import plain_attention, plain_is_faster

keras_hub = import_keras_hub()
_Decoder: Any = keras_hub.layers.TransformerDecoder
_Attention: Any = keras_hub.layers.CachedMultiHeadAttention


class CausalDecoder(_Decoder):  # type: ignore[misc]
    """A decoder layer that leaves it to its attention to look only backwards."""

    def _compute_self_attention_mask(self, **options: Any) -> Any:
        special = options["decoder_attention_mask"] is not None or options["self_attention_cache"] is not None
        if special or not options["use_causal_mask"]:
            return super()._compute_self_attention_mask(**options)
        return None


class CausalAttention(_Attention):  # type: ignore[misc]
    """Attention in which no mask means: each token sees itself and those before it."""

    def _compute_attention(
        self, query: Any, key: Any, value: Any, attention_mask: Any = None, *options: Any, **named_options: Any
    ) -> tuple[Any, Any]:
        special = any(options[1:]) or any(value for name, value in named_options.items() if name != "training")
        if attention_mask is not None or special:
            return super()._compute_attention(query, key, value, attention_mask, *options, **named_options)
        return causal_attention(query, key, value, self._inverse_sqrt_key_dim), None


def causal_attention(query: Any, key: Any, value: Any, scale: float) -> torch.Tensor:
    """Return softmax(scale * Q K^T) V in which each token sees itself and those before it.

    Args:
        query: (batch, length, heads, size), as Keras' layer projects it; key and value likewise.
        key: see `query`.
        value: see `query`.
        scale: factor of the scores.

    Returns:
        (batch, length, heads, size).
    """
    if plain_is_faster(query):
        length = query.shape[1]
        seen = torch.ones(1, length, length, dtype=torch.bool).tril()
        return plain_attention(query, key, value, seen, scale)
    q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    return fused.transpose(1, 2)


def use_causal_kernel(backbone: keras.Model) -> None:
    """Let the decoder layers of a backbone use the causal kernel; their weights and names stay.

    Backbone dropout must be 0, as `Preset.load_backbone` sets it.
    """
    for layer in backbone._flatten_layers():
        if type(layer) is _Decoder and layer._cross_attention_layer is None:
            attention = layer._self_attention_layer
            if type(attention) is _Attention and attention._dropout == 0:
                layer.__class__, attention.__class__ = CausalDecoder, CausalAttention
