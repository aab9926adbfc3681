"""Builds models whose weights are read from files, without drawing random ones first.

Keras draws four normal numbers a weight for BERT's truncated normal distribution. For all-MiniLM-L6-v2 (22.7 million
weights) these are 90 million numbers and 0.2 GB that are thrown away at once; for BERT base five times as many.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerora.fast.switch import is_plain

DRAWN = ("RandomNormal", "TruncatedNormal", "RandomUniform", "VarianceScaling", "Orthogonal")
"""Keras' random initializers; the others, such as GlorotUniform, are kinds of these."""


@contextmanager
def without_drawing() -> Iterator[None]:
    """Inside the block Keras' random initializers give zeros.

    For models that are filled from files afterwards. Which numbers are drawn after the block does not depend on it.
    """
    if is_plain():
        yield
        return
    drawing = {getattr(keras.initializers, name): getattr(keras.initializers, name).__call__ for name in DRAWN}
    for initializer in drawing:
        initializer.__call__ = _zeros
    try:
        yield
    finally:
        for initializer, call in drawing.items():
            initializer.__call__ = call


def draw(layer: Any) -> None:
    """Give a dense layer that was built inside `without_drawing` the random kernel that it would have had."""
    if is_plain():  # it has it
        return
    layer.kernel.assign(layer.kernel_initializer(layer.kernel.shape, dtype=layer.kernel.dtype))


def _zeros(self: Any, shape: Any, dtype: Any = None, **options: Any) -> Any:
    return keras.ops.zeros(shape, dtype=dtype)
