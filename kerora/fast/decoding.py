"""Decoding of GPT-2 with a cache of keys and values that is written in place. KerasHub copies its cache instead."""

from typing import Any

import torch

from kerora.fast.causal import CausalAttention
from kerora.fast.switch import is_plain


def can_decode_in_place(backbone: Any) -> bool:
    """Return whether all attention layers of a GPT-2 write their cache in place."""
    layers = getattr(backbone, "transformer_layers", [])
    return not is_plain() and all(isinstance(layer._self_attention_layer, CausalAttention) for layer in layers)


class InPlaceDecoder:
    """Decoding of GPT-2 with a cache that is written in place, and with logits only for the last token.

    Args:
        model: a `kerora.models.causal_lm.CausalLM` of GPT-2.
        rows: number of texts that are continued together.
        length: largest number of tokens of a text.
    """

    def __init__(self, model: Any, rows: int, length: int) -> None:
        self.model = model
        backbone = model.backbone
        self.cache: list[torch.Tensor | None] = [None] * backbone.num_layers
        size = backbone.hidden_dim // backbone.num_heads
        self.shape = (rows, 2, length, backbone.num_heads, size)

    def advance(self, ids: torch.Tensor, place: int) -> torch.Tensor:
        """Read tokens (rows, count) at position `place`. Return the logits after the last one, (rows, tokens)."""
        backbone = self.model.backbone
        tokens = backbone.token_embedding(ids)
        x = backbone.embeddings_add((tokens, backbone.position_embedding(tokens, start_index=place)))
        for number, layer in enumerate(backbone.transformer_layers):
            cache = self.cache[number]
            # The states give the dtype and the device of the cache, so it is made at the first call.
            cache = x.new_zeros(self.shape) if cache is None else cache
            x, self.cache[number] = layer(x, self_attention_cache=cache, self_attention_cache_update_index=place)
        return self.model.to_logits(backbone.layer_norm(x[:, -1]))
