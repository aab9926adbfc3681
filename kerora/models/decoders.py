"""Lets the decoders of KerasHub separate the documents of a row.

A row may hold several documents that must not see each other. In the mask of a KerasHub decoder, a token sees all
tokens before it. In the mask made here, it sees only those of its own document. Positions count from the start of each
document.
"""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import torch

from kerora.backend import import_keras_hub
from kerora.compat import flatten_layers, mask_method, rename

keras_hub = import_keras_hub()
_Positions: Any = keras_hub.layers.PositionEmbedding


@dataclass
class RowLayout:
    """The division of the current rows into documents. The layers of a backbone share it.

    Attributes:
        seen: which tokens each token sees, bool (batch, length, length); None if it sees all tokens before it.
        positions: position of each token in its document, int64 (batch, length); None if each row is one document.
    """

    seen: torch.Tensor | None = None
    positions: torch.Tensor | None = None


@contextlib.contextmanager
def documents_in_rows(backbone: keras.Model, numbers: Any) -> Iterator[None]:
    """Inside the block, compute rows with several documents that do not see each other.

    Args:
        backbone: a backbone that `tell_documents_apart` prepared.
        numbers: document number of each token, int (batch, length), never decreasing in a row; None for one document
            in each row.
    """
    layout: RowLayout = backbone.row_layout
    if numbers is not None:
        numbers = torch.as_tensor(numbers)
        places = torch.arange(numbers.shape[1], device=numbers.device)
        # Same document and not later: (batch, token, seen token).
        layout.seen = (numbers[:, :, None] == numbers[:, None, :]) & (places[:, None] >= places)
        # Numbers never decrease in a row, so a binary search finds the first token of each document.
        starts = torch.searchsorted(numbers.contiguous(), numbers.contiguous())
        layout.positions = places - starts
    try:
        yield
    finally:
        layout.seen = layout.positions = None


class DocumentPositions(_Positions):
    """Position embeddings that count from the start of each document."""

    row_layout: RowLayout

    def call(self, inputs: Any, start_index: Any = 0, positions: Any = None) -> Any:
        """Return the embeddings of the positions of `inputs` (batch, length, width)."""
        return super().call(inputs, start_index, self.row_layout.positions if positions is None else positions)


# Keras uses the class name as the path of a layer in a weight file. The files must stay compatible with KerasHub.
DocumentPositions.__name__ = _Positions.__name__


def tell_documents_apart(backbone: keras.Model) -> None:
    """Prepare the decoder layers and positions of a backbone for `documents_in_rows`. Weights and names stay."""
    layout = RowLayout()
    backbone.row_layout = layout
    for layer in flatten_layers(backbone):
        if getattr(layer, "row_layout", None) is layout:
            continue  # A backbone lists its layers more than once.
        kind: Any = type(layer)
        # The attention layer of Keras has such a method too, for masks that layers pass on. Decoders do not use it.
        method = None if isinstance(layer, keras.layers.MultiHeadAttention) else mask_method(kind)
        if kind is _Positions:
            layer.__class__ = DocumentPositions
        elif method is not None:
            layer.__class__ = _document_decoder(kind, method)
        else:
            continue
        layer.row_layout = layout


@functools.cache
def _document_decoder(decoder: Any, method: str) -> Any:
    """Return a subclass that also masks other documents."""
    original = getattr(decoder, method)

    def mask(self: Any, *arguments: Any, **options: Any) -> Any:
        made, seen = original(self, *arguments, **options), self.row_layout.seen
        # KerasHub makes integer masks of 0 and 1.
        return made if seen is None else keras.ops.logical_and(keras.ops.cast(made, "bool"), seen)

    # The name stays, because Keras uses it in weight files. `use_causal_kernel` reads `keras_class`.
    return type(decoder.__name__, (decoder,), {method: mask, "keras_class": decoder})


def tell_layers_apart(backbone: keras.Model) -> None:
    """Add the name of the decoder layer to the paths of weights that lack it, such as ``o_proj`` of SmolLM3."""
    for decoder in getattr(backbone, "transformer_layers", ()):
        for variable in decoder.variables:
            if not variable.path.startswith(f"{decoder.name}/"):
                # Files of adapters name weights by path, so two layers must not have the same path.
                rename(variable, f"{decoder.name}/{variable.path}")
