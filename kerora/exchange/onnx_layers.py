"""DeBERTa's relative attention, written so that torch's exporter follows it for any batch and length."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import torch

from kerora.compat import flatten_layers


@contextlib.contextmanager
def traceable(model: keras.Model, longest: int) -> Iterator[None]:
    """Inside the block a model without LoRA computes the same by operations whose shapes can stay open.

    KerasHub's DeBERTa repeats its relative embeddings for each row and computes places and gathers with the sizes of
    the batch at hand. Models of other kinds are left as they are.

    Args:
        model: the model.
        longest: longest row in tokens.
    """
    kinds = {"DisentangledSelfAttention": _OpenAttention, "RelativeEmbedding": _OpenEmbedding}
    found = {id(layer): layer for layer in flatten_layers(model) if type(layer).__name__ in kinds}
    before = [(layer, type(layer)) for layer in found.values()]
    for layer, kind in before:
        layer.__class__ = type(kind.__name__, (kinds[kind.__name__], kind), {})
        layer.__dict__["longest"] = longest  # past Keras, which tracks what a layer is given
    try:
        yield
    finally:
        for layer, kind in before:
            layer.__class__ = kind
            del layer.__dict__["longest"]


class _OpenEmbedding:
    """Gives the relative embeddings once for all rows."""

    rel_embeddings: Any
    layer_norm: Any

    def call(self, inputs: Any) -> Any:
        """Return the embeddings, (1, 2 * buckets, width)."""
        return self.layer_norm(keras.ops.convert_to_tensor(self.rel_embeddings)[None])


class _OpenAttention:
    """Takes the relative embeddings (1, 2 * buckets, width) and looks the buckets up in a table.

    The scores are those of He et al. 2021 (arXiv:2111.09543): content to position and position to content.
    """

    longest: int
    bucket_size: int
    scale_factor: float
    _query_dense: Any
    _key_dense: Any
    _make_log_bucket_position: Any

    def _compute_disentangled_attention(self, query: Any, key: Any, rel_embeddings: Any) -> Any:
        """Return the scores of the relative places, (batch, heads, length, length)."""
        batch, length, heads, _ = query.shape
        span = self.bucket_size
        with torch.no_grad():
            table = self._make_log_bucket_position(torch.arange(1 - self.longest, self.longest))
        numbers = torch.arange(length)
        buckets = table[numbers[:, None] - numbers[None, :] + self.longest - 1]

        def scores(content: Any, positions: Any, places: Any) -> Any:
            products = torch.einsum("bqnd,snd->bnqs", content, positions[0])
            chosen = (places + span).clip(0, 2 * span - 1).expand(batch, heads, length, length)
            return torch.gather(products, 3, chosen)

        to_position = scores(query, self._key_dense(rel_embeddings), buckets)
        to_content = scores(key, self._query_dense(rel_embeddings), -buckets).transpose(2, 3)
        return (to_position + to_content) * self.scale_factor
