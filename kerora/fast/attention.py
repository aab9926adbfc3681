"""Chooses the attention kernel by device, dtype and length.

The fused attention of PyTorch is slow on CPUs in bfloat16, especially in the backward pass. Plain matrix products are
faster there. They store the scores, so their memory grows with the square of the length. Above `LONGEST_PLAIN` tokens
the fused kernel is used.
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
        # The options are: training (no effect without dropout), returned scores, a causal mask.
        special = any(options[1:]) or any(value for name, value in named_options.items() if name != "training")
        # The plain products cannot drop scores. Keras has its own path for that, also outside training.
        if special or self._dropout > 0 or not plain_is_faster(query):
            return super()._compute_attention(query, key, value, attention_mask, *options, **named_options)
        return plain_attention(query, key, value, attention_mask, self._inverse_sqrt_key_dim), None


def choose_attention(backbone: keras.Model) -> None:
    """Let the attention layers of a backbone choose their kernel. Their weights and names do not change.

    Layers of other classes, such as those of DeBERTa, do not change.
    """
    if is_plain():
        return
    for layer in backbone._flatten_layers():
        # A subclass may compute its scores in another way.
        if type(layer) is keras.layers.MultiHeadAttention:
            layer.__class__ = ChosenAttention


def attend(query: Any, key: Any, value: Any, mask: Any, scale: float) -> torch.Tensor:
    """Return softmax(scale * Q K^T) V with the faster kernel. Arguments and result are those of `plain_attention`."""
    # On a GPU this check would wait for all work in the queue.
    if mask is not None and mask.device.type == "cpu" and bool(mask.all()):
        mask = None  # There is no padding, and the fused kernel is faster without a mask.
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
        mask: true for the keys that a query may attend to, (batch, length or 1, length), or None.
        scale: factor of the scores.

    Returns:
        (batch, length, heads, size).
    """
    batch, length, heads, size = query.shape
    # Each is (batch * heads, length, size). Usually the query has fewer numbers than the scores, so it is scaled.
    flat = [tensor.transpose(1, 2).reshape(batch * heads, -1, size) for tensor in (query * scale, key, value)]
    scores = torch.bmm(flat[0], flat[1].transpose(1, 2))  # (batch * heads, queries, keys)
    if mask is not None:
        allowed = keras.ops.convert_to_tensor(mask, dtype="bool")[:, None]
        bias = torch.zeros(allowed.shape, dtype=scores.dtype, device=scores.device)
        # Half of the minimum stays finite when a score is added. A row with every key masked then gives no NaN.
        bias.masked_fill_(~allowed, torch.finfo(scores.dtype).min / 2)
        # Adding in place avoids a copy of the scores, and a masked fill of their gradient, which is zero there anyway.
        scores.add_(bias.expand(batch, heads, -1, -1).flatten(0, 1))
    weights = torch.softmax(scores, dim=-1)
    return torch.bmm(weights, flat[2]).view(batch, heads, length, size).transpose(1, 2)


def plain_is_faster(query: Any) -> bool:
    """Tell whether plain matrix products are faster than the fused kernel for a query (batch, length, heads, size)."""
    return (
        isinstance(query, torch.Tensor)
        and query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and query.shape[1] <= LONGEST_PLAIN
    )
