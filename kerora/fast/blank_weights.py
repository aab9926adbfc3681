"""Builds models whose weights are read from files, without random initial weights.

For the truncated normal distribution of BERT, Keras samples four normal numbers for each weight. The weights from the
file replace them immediately.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kerora.fast.switch import is_plain

DRAWN = ("RandomNormal", "TruncatedNormal", "RandomUniform", "VarianceScaling", "Orthogonal")
"""Random initializers of Keras. The others, such as GlorotUniform, are subclasses of these."""


@contextmanager
def without_drawing() -> Iterator[None]:
    """Make the random initializers of Keras return zeros inside the block.

    This is for models whose weights are then read from files. Random numbers after the block do not depend on it.
    """
    if is_plain():
        yield
        return
    drawing = {getattr(keras.initializers, name): getattr(keras.initializers, name).__call__ for name in DRAWN}
    # Python looks up __call__ on the class, so the classes are changed, not their instances.
    for initializer in drawing:
        initializer.__call__ = _zeros
    try:
        yield
    finally:
        for initializer, call in drawing.items():
            initializer.__call__ = call


def draw(layer: Any) -> None:
    """Initialize the kernel of a dense layer that was built inside `without_drawing`, as Keras would have done."""
    if is_plain():  # The kernel is random already.
        return
    layer.kernel.assign(layer.kernel_initializer(layer.kernel.shape, dtype=layer.kernel.dtype))


def _zeros(self: Any, shape: Any, dtype: Any = None, **options: Any) -> Any:
    return keras.ops.zeros(shape, dtype=dtype)
