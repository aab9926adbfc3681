"""The kernels of Keras' Dense and EinsumDense layers as matrices."""

import math
from typing import Any

import keras
import torch

from kerora.compat import kernel_of
from kerora.errors import ConfigError


def matrix_shape(layer: Any) -> tuple[int, int]:
    """Return the sides (in, out) of a kernel seen as a matrix.

    Raises:
        ConfigError: the einsum does not contract the input's last axes.
    """
    shape = kernel_shape(layer)
    contracted = _contracted_axes(layer)
    inputs = math.prod(shape[axis] for axis in contracted)
    return inputs, math.prod(shape) // inputs


def kernel_shape(layer: Any) -> tuple[int, ...]:
    """Return the shape of a kernel, where it is quantised and packed that of the kernel before."""
    shape = getattr(layer, "float_kernel_shape", None) or kernel_of(layer).shape
    return tuple(int(side) for side in shape)


def kernel_order(layer: Any) -> list[int]:
    """Return the kernel's axes in the order of the matrix: the contracted ones, then those of the output.

    Only Gemma's kernels, (heads, width, head size), are not in that order as they are.
    """
    contracted = _contracted_axes(layer)
    return [*contracted, *(axis for axis in range(len(kernel_shape(layer))) if axis not in contracted)]


def kernel_matrix(layer: Any, kernel: torch.Tensor) -> torch.Tensor:
    """Return a layer's kernel as a matrix (in, out)."""
    return kernel.permute(kernel_order(layer)).reshape(matrix_shape(layer))


def _contracted_axes(layer: Any) -> list[int]:
    if not isinstance(layer, keras.layers.EinsumDense):
        return [0]
    # The dots stand for batch axes, which do not affect the kernel.
    inputs, _, rest = layer.equation.replace("...", "").partition(",")
    kernel, _, output = rest.partition("->")
    # An axis of the kernel that the output lacks is summed.
    contracted = [place for place, axis in enumerate(kernel) if axis not in output]
    count = len(contracted)
    summed = "".join(kernel[place] for place in contracted)
    kept = "".join(axis for axis in kernel if axis not in summed)
    # Otherwise rows of the flattened input would not match rows of the matrix.
    if not count or summed != inputs[-count:] or output != inputs[:-count] + kept:
        raise ConfigError(
            f"Layer '{layer.path}' cannot be adapted: its einsum {layer.equation!r} does not contract "
            "the last axes of the input and put the kernel's others behind the rest. Leave it out of the targets."
        )
    return contracted
