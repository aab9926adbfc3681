"""Decoders of KerasHub, taught to tell the documents of a row apart.

A row may hold several documents that must not see one another. KerasHub's decoders make a mask in which a token sees
those before it; here it sees those before it in its own document, and positions count from the start of each.
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
    """How the rows that are being computed are divided; shared by the layers of a backbone.

    Attributes:
        seen: which tokens each token sees, bool (batch, length, length); None where it sees all before it.
        positions: place of each token in its document, int64 (batch, length); None where rows are one document.
    """

    seen: torch.Tensor | None = None
    positions: torch.Tensor | None = None


@contextlib.contextmanager
def documents_in_rows(backbone: keras.Model, numbers: Any) -> Iterator[None]:
    """Compute inside the block rows that hold several documents, none of which sees another.

    Args:
        backbone: a backbone that went through `tell_documents_apart`.
        numbers: number of each token's document, not falling in a row, int (batch, length); None for one a row.
    """
    layout: RowLayout = backbone.row_layout
    if numbers is not None:
        numbers = torch.as_tensor(numbers)
        places = torch.arange(numbers.shape[1], device=numbers.device)
        layout.seen = (numbers[:, :, None] == numbers[:, None, :]) & (places[:, None] >= places)
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
        """Return the embeddings of the places of `inputs` (batch, length, width)."""
        return super().call(inputs, start_index, self.row_layout.positions if positions is None else positions)


# Keras names a layer's place in a weight file by its class, and the files must stay those of KerasHub
DocumentPositions.__name__ = _Positions.__name__


def tell_documents_apart(backbone: keras.Model) -> None:
    """Let `documents_in_rows` reach the decoder layers and positions of a backbone; weights and names stay."""
    layout = RowLayout()
    backbone.row_layout = layout
    for layer in flatten_layers(backbone):
        if getattr(layer, "row_layout", None) is layout:
            continue  # seen before: a backbone lists its layers more than once
        kind: Any = type(layer)
        # Keras' attention has such a method for the masks that layers hand on, which decoders do not use
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
    """Return a subclass that masks other documents too."""
    original = getattr(decoder, method)

    def mask(self: Any, *arguments: Any, **options: Any) -> Any:
        made, seen = original(self, *arguments, **options), self.row_layout.seen
        return made if seen is None else keras.ops.logical_and(keras.ops.cast(made, "bool"), seen)

    return type(decoder.__name__, (decoder,), {method: mask, "keras_class": decoder})


def tell_layers_apart(backbone: keras.Model) -> None:
    """Put the decoder layer's name into the paths of weights that lack it, such as SmolLM3's ``o_proj``."""
    for decoder in getattr(backbone, "transformer_layers", ()):
        for variable in decoder.variables:
            if not variable.path.startswith(f"{decoder.name}/"):
                rename(variable, f"{decoder.name}/{variable.path}")
