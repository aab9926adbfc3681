"""The attention kernel, chosen by device, dtype and length.

PyTorch's fused attention is slow on CPUs in bfloat16, in the backward pass above all. Forward and
backward of one layer with 12 heads on one core (AVX-512 BF16, torch 2.13), medians of six, in ms:

==================== ===== =====
rows x length x size fused plain
==================== ===== =====
32 x 56 x 32           166    37
32 x 128 x 32          367   111
32 x 128 x 64          420   148
16 x 256 x 32          269   213
8 x 512 x 64           316   207
==================== ===== =====

The plain way stores the scores, so its memory grows with the square of the length; beyond
`LONGEST_PLAIN` it is left to the fused kernel.
"""

from typing import Any

import keras
import torch

from kerora.fast.switch import is_plain

LONGEST_PLAIN = 384


class ChosenAttention(keras.layers.MultiHeadAttention):
    """A Keras attention layer that computes in plain matrix products where these are faster."""

    def _compute_attention(
        self, query: Any, key: Any, value: Any, attention_mask: Any = None, *options: Any, **named_options: Any
    ) -> tuple[Any, Any]:
        # the options are training (without dropout it changes nothing), returned scores and a causal mask
        special = any(options[1:]) or any(value for name, value in named_options.items() if name != "training")
        if special or self._dropout > 0 or not plain_is_faster(query):
            return super()._compute_attention(query, key, value, attention_mask, *options, **named_options)
        return plain_attention(query, key, value, attention_mask, self._inverse_sqrt_key_dim), None


def choose_attention(backbone: keras.Model) -> None:
    """Let the attention layers of a backbone choose their kernel; their weights and names stay.

    Layers of other classes, such as DeBERTa's, are left as they are.
    """
    if is_plain():
        return
    for layer in backbone._flatten_layers():
        if type(layer) is keras.layers.MultiHeadAttention:
            layer.__class__ = ChosenAttention


def attend(query: Any, key: Any, value: Any, mask: Any, scale: float) -> torch.Tensor:
    """Return softmax(scale * Q K^T) V by the faster kernel; arguments and result as of `plain_attention`."""
    if mask is not None and mask.device.type == "cpu" and bool(mask.all()):
        mask = None  # nothing is padded, and the fused kernel is faster without a mask
    if plain_is_faster(query):
        return plain_attention(query, key, value, mask, scale)
    q, k, v = (tensor.transpose(1, 2) for tensor in (query, key, value))
    allowed = None if mask is None else mask[:, None]
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scale).transpose(1, 2)


def plain_attention(query: Any, key: Any, value: Any, mask: Any, scale: float) -> torch.Tensor:
    """Return softmax(scale * Q K^T) V as three batched matrix products.

    Args:
        query: (batch, length, heads, size), as Keras' layer projects it; key and value likewise.
        key: see `query`.
        value: see `query`.
        mask: true where a query may look, (batch, length or 1, length), or None.
        scale: factor of the scores.

    Returns:
        (batch, length, heads, size).
    """
    batch, length, heads, size = query.shape
    flat = [tensor.transpose(1, 2).reshape(batch * heads, -1, size) for tensor in (query * scale, key, value)]
    scores = torch.bmm(flat[0], flat[1].transpose(1, 2))
    if mask is not None:
        allowed = keras.ops.convert_to_tensor(mask, dtype="bool")[:, None]
        bias = torch.zeros(allowed.shape, dtype=scores.dtype, device=scores.device)
        bias.masked_fill_(~allowed, torch.finfo(scores.dtype).min / 2)
        # added in place: filling would copy the scores, and fill their gradient, which is zero there, once more
        scores.add_(bias.expand(batch, heads, -1, -1).flatten(0, 1))
    weights = torch.softmax(scores, dim=-1)
    return torch.bmm(weights, flat[2]).view(batch, heads, length, size).transpose(1, 2)


def plain_is_faster(query: Any) -> bool:
    """Tell whether plain matrix products beat the fused kernel for a query (batch, length, heads, size)."""
    return (
        isinstance(query, torch.Tensor)
        and query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and query.shape[1] <= LONGEST_PLAIN
    )
