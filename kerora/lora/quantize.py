"""Frozen kernels in 8 or 4 bits with float32 updates (QLoRA, Dettmers et al. 2023, arXiv:2305.14314).

Only the kernels of dense layers inside the backbone are quantized. By default Keras would also quantize activations and
tied embeddings, which makes the gradients wrong.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from kerora.compat import forget_torch_parameters, kernel_of, own_variables, state_of
from kerora.errors import ConfigError
from kerora.fast.allocator import release_freed
from kerora.fast.lean_import import without_garbage_rounds
from kerora.kernels import kernel_shape, matrix_shape
from kerora.lora.select import all_layers, can_adapt

MODES = ("int8", "int4")


@dataclass(frozen=True)
class Quantised:
    """The result of quantization.

    Attributes:
        layers: number of quantized layers.
        bytes_before: size of the weights of the backbone before it.
        bytes_after: size of these weights after it.
        mode: ``int8`` or ``int4``.
    """

    layers: int
    bytes_before: int
    bytes_after: int
    mode: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entries for a manifest."""
        return {
            "quantize": self.mode,
            "layers": self.layers,
            "mb": round(self.bytes_after / 1e6, 3),
            "unquantised_mb": round(self.bytes_before / 1e6, 3),
        }

    def __str__(self) -> str:
        before, after = (size / 1e6 for size in (self.bytes_before, self.bytes_after))
        return f"Base weights: {after:.1f} MB in {self.mode}, {before:.1f} MB unquantised ({self.layers} layers)"


def quantize(model: keras.Model, mode: str) -> Quantised:
    """Quantise the dense kernels of a model's backbone in place; call it before `enable_lora`.

    Args:
        model: a task model with a backbone and no LoRA.
        mode: ``int8`` or ``int4``.

    Raises:
        ConfigError: another mode, or the model is quantised already.
    """
    if mode not in MODES:
        raise ConfigError(f"quantize must be one of {', '.join(MODES)}. Received: {mode!r}")
    if quantised_layers(model):
        raise ConfigError("The model is quantised already. Load it afresh.")
    backbone = model.backbone
    before = _size(backbone)
    layers = [layer for layer in all_layers(backbone) if can_adapt(layer)]
    states: dict[int, Any] = model.__dict__.get("_base_states", {})
    as_in_base = all(states.get(id(v)) == state_of(v) for layer in layers for v in own_variables(layer))
    configs = {"int8": keras.quantizers.Int8QuantizationConfig, "int4": keras.quantizers.Int4QuantizationConfig}
    # Otherwise the float kernels stay in memory as long as the layers around them.
    forget_torch_parameters(model)
    with without_garbage_rounds():
        for layer in layers:
            # Keras packs two numbers of 4 bits into a byte, which changes the shape of the kernel.
            shape = kernel_shape(layer)
            layer.quantize(mode, config=configs[mode](activation_quantizer=None))
            layer.float_kernel_shape = shape
    if as_in_base:
        # The quantised kernels follow from the files of the base.
        states.update((id(variable), state_of(variable)) for layer in layers for variable in own_variables(layer))
    # The freed float kernels would stay in the heap of the process.
    release_freed()
    return Quantised(len(layers), before, _size(backbone), mode)


def quantised_layers(model: keras.Model) -> list[Any]:
    """Return the layers whose kernels are quantised."""
    return [layer for layer in all_layers(model) if getattr(layer, "float_kernel_shape", None) is not None]


def float_kernel(layer: Any) -> np.ndarray:
    """Return the kernel that a quantised layer computes with, float32, in the shape that it had."""
    shape = kernel_shape(layer)
    inputs, _ = matrix_shape(layer)
    # The leading axes of the kernel whose sizes multiply to `inputs`.
    contracted = int(np.searchsorted(np.cumprod(shape), inputs)) + 1
    # The outputs for the identity are the rows of the kernel. This needs no knowledge of how Keras packs it.
    rows = torch.eye(inputs).reshape(1, inputs, *shape[:contracted])
    update, activation, bias = layer.__dict__.get("update"), layer.activation, layer.bias
    layer.__dict__["update"] = None
    layer.activation = None
    try:
        with torch.no_grad():
            outputs = layer(rows).float().reshape(inputs, -1)
    finally:
        layer.activation = activation
        layer.__dict__["update"] = update
    # The outputs for the identity contain the bias too.
    if bias is not None:
        outputs = outputs - bias.value.detach().float().reshape(-1)
    kernel: np.ndarray = outputs.reshape(shape).cpu().numpy()
    return kernel


def dequantize_into(quantised: keras.Model, plain: keras.Model) -> float:
    """Give a plain copy of a quantised model the kernels that the latter computes with.

    Returns:
        What quantising lost: the largest difference of any kernel value from the original.
    """
    targets = {kernel_of(layer).path: layer for layer in all_layers(plain) if can_adapt(layer)}
    lost = 0.0
    for layer in quantised_layers(quantised):
        target = targets[kernel_of(layer).path]
        kernel = float_kernel(layer)
        lost = max(lost, float(np.abs(kernel - kernel_of(target).numpy()).max()))
        kernel_of(target).assign(kernel)
    return lost


def _size(model: keras.Model) -> int:
    return sum(weight.value.numel() * weight.value.element_size() for weight in model.weights)
