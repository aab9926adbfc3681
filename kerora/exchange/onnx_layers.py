"""The relative attention of DeBERTa, in a form that torch's exporter can trace for any batch and length."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import torch

from kerora.compat import flatten_layers


@contextlib.contextmanager
def traceable(model: keras.Model, longest: int) -> Iterator[None]:
    """Replace layers of DeBERTa inside the block by equal ones with dynamic shapes.

    KerasHub's DeBERTa repeats the relative embeddings for each row, and computes positions and gathers with the sizes
    of the current batch. The exporter would write these sizes into the file. Other models are not changed.

    Args:
        model: the model, without LoRA.
        longest: maximum length of a row, in tokens.
    """
    kinds = {"DisentangledSelfAttention": _OpenAttention, "RelativeEmbedding": _OpenEmbedding}
    found = {id(layer): layer for layer in flatten_layers(model) if type(layer).__name__ in kinds}
    before = [(layer, type(layer)) for layer in found.values()]
    for layer, kind in before:
        # a subclass of the layer's own class with the same name: weights and all other methods stay
        layer.__class__ = type(kind.__name__, (kinds[kind.__name__], kind), {})
        layer.__dict__["longest"] = longest  # not setattr: Keras tracks the attributes of a layer
    try:
        yield
    finally:
        for layer, kind in before:
            layer.__class__ = kind
            del layer.__dict__["longest"]


class _OpenEmbedding:
    """Returns the relative embeddings once for all rows."""

    rel_embeddings: Any
    layer_norm: Any

    def call(self, inputs: Any) -> Any:
        """Return the embeddings, (1, 2 * buckets, width)."""
        return self.layer_norm(keras.ops.convert_to_tensor(self.rel_embeddings)[None])


class _OpenAttention:
    """Takes relative embeddings (1, 2 * buckets, width) and reads the buckets from a table.

    The scores are those of He et al. 2021 (arXiv:2111.09543): content to position and position to content.
    """

    longest: int
    bucket_size: int
    scale_factor: float
    _query_dense: Any
    _key_dense: Any
    _make_log_bucket_position: Any

    def _compute_disentangled_attention(self, query: Any, key: Any, rel_embeddings: Any) -> Any:
        """Return the scores of the relative positions, (batch, heads, length, length)."""
        batch, length, heads, _ = query.shape
        span = self.bucket_size
        # The buckets depend only on the distance. A table for the longest row makes them a lookup of any length.
        with torch.no_grad():
            table = self._make_log_bucket_position(torch.arange(1 - self.longest, self.longest))
        numbers = torch.arange(length)
        # index 0 of the table is the distance 1 - longest; (query, key)
        buckets = table[numbers[:, None] - numbers[None, :] + self.longest - 1]

        def scores(content: Any, positions: Any, places: Any) -> Any:
            # (batch, query, heads, size) and (2 * buckets, heads, size) -> (batch, heads, query, 2 * buckets)
            products = torch.einsum("bqnd,snd->bnqs", content, positions[0])
            # distances from -span to span - 1 become rows 0 to 2 * span - 1 of the embeddings
            chosen = (places + span).clip(0, 2 * span - 1).expand(batch, heads, length, length)
            return torch.gather(products, 3, chosen)

        to_position = scores(query, self._key_dense(rel_embeddings), buckets)
        # from the key's side the distance has the other sign, and its scores are (key, query)
        to_content = scores(key, self._query_dense(rel_embeddings), -buckets).transpose(2, 3)
        return (to_position + to_content) * self.scale_factor
