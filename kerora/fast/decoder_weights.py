"""Reads the layers of a decoder of KerasHub as plain tensors, for `kerora.fast.decoding`.

The names of the layers differ between the kinds; `kerora.models.block_names` holds them. Without `laid_out` the weights
are read as they are: only query, key and value are copied into one kernel, and a kernel with an update that is not
merged is copied with it. With `laid_out` each kernel gets the layout that a CPU multiplies with one row fastest. The
variables of Keras become views of it, so that the memory stays the same. For one row on one core with AVX2, a kernel of
576 x 3,072 took 419 microseconds in float32 as (in, out) and 657 as (out, in); one of 1,536 x 576 took 313 and 206. In
bfloat16 it was 3,808 and 473, and 1,240 and 227.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import torch

from kerora.backend import import_keras_hub
from kerora.compat import point_at
from kerora.fast.products import Update, matrix_layers
from kerora.kernels import kernel_matrix, kernel_order, kernel_shape, matrix_shape

import_keras_hub()
Norm = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class BlockNames:
    """The names of the layers of a decoder block in KerasHub. A dot leads into a layer. Missing layers are "".

    A layer that a block may lack, such as the norm of the queries, need not exist.

    Attributes:
        activation: ``gelu_tanh`` or ``silu``, where the layers do not hold it.
        last_norm: name of the norm of the backbone.
        scaled: whether the embeddings are multiplied by the root of the width.
        from_one: whether the norms store the difference of their weights to one.
    """

    attention: str
    query: str
    key: str
    value: str
    output: str
    before: str
    between: str
    gate: str
    inner: str
    outer: str
    query_norm: str = ""
    key_norm: str = ""
    after_attention: str = ""
    after_feed_forward: str = ""
    rope: str = "rotary_embedding_layer"
    activation: str = ""
    last_norm: str = "layer_norm"
    scaled: bool = False
    from_one: bool = False


_ROOT_NORMS = (
    *("LlamaLayerNorm", "Llama3LayerNorm", "QwenLayerNorm", "Qwen3LayerNorm", "MistralLayerNormalization"),
    *("Phi3LayerNorm", "RMSNormalization"),
)


class UnknownLayer(Exception):
    """A layer that only its own `call` can compute."""


@dataclass(frozen=True)
class Linear:
    """A dense layer.

    Attributes:
        kernel: (in, out), or (out, in) if it is `turned`.
        bias: (out,) or None.
        turned: which of both.
    """

    kernel: torch.Tensor
    bias: torch.Tensor | None
    turned: bool = False

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the outputs of rows (rows, in)."""
        if self.turned:
            return torch.nn.functional.linear(rows, self.kernel, self.bias)
        return rows @ self.kernel if self.bias is None else torch.addmm(self.bias, rows, self.kernel)


@dataclass(frozen=True)
class Block:
    """The weights of a decoder block.

    Attributes:
        projections: query, key and value as one layer.
        output: output layer of the attention.
        gate: gate of the feed-forward part, or None. It is None too if `inner` holds it.
        inner: its first layer. If `gated`, the first half of its outputs is the gate.
        outer: its last layer.
        gated: whether `inner` holds the gate.
        before: norm before the attention.
        between: norm before the feed-forward part.
        query_norm: norm of each head of the query, or None; `key_norm` likewise.
        key_norm: see `query_norm`.
        after_attention: norm after the attention, or None; `after_feed_forward` likewise.
        after_feed_forward: see `after_attention`.
        activation: activation of the gate, or of `inner` if there is no gate.
        heads: number of query heads.
        groups: number of key and value heads.
        size: size of a head.
        scale: factor of the scores.
        cap: the scores become ``cap * tanh(scores / cap)``; None for no cap.
        window: number of tokens that a token sees, itself included; None for all.
        rope: returns the cosines and signed sines (places, size) of the first places, or None.
    """

    projections: Linear
    output: Linear
    gate: Linear | None
    inner: Linear
    outer: Linear
    gated: bool
    before: Norm
    between: Norm
    query_norm: Norm | None
    key_norm: Norm | None
    after_attention: Norm | None
    after_feed_forward: Norm | None
    activation: Callable[[torch.Tensor], torch.Tensor]
    heads: int
    groups: int
    size: int
    scale: float
    cap: float | None
    window: int | None
    rope: Callable[[int], tuple[torch.Tensor, torch.Tensor]] | None


@dataclass(frozen=True)
class DecoderWeights:
    """The weights of a decoder.

    Attributes:
        blocks: its blocks.
        embeddings: (tokens, width).
        positions: position embeddings (places, width), or None.
        factor: the embeddings are multiplied by it; 1 for most kinds.
        last_norm: norm of the final hidden states.
        dtype: dtype of the arithmetic.
        head: at most one matrix, the output embeddings (width, tokens), once a single row needed them.
    """

    blocks: Sequence[Block]
    embeddings: torch.Tensor
    positions: torch.Tensor | None
    factor: float
    last_norm: Norm
    dtype: torch.dtype
    head: list[torch.Tensor] = field(default_factory=list)


def read_decoder(backbone: Any, names: BlockNames, laid_out: bool = False) -> DecoderWeights | None:
    """Read the weights of a decoder, or return None if its layers must compute it themselves.

    Args:
        backbone: a backbone of KerasHub.
        names: the names of the layers of its blocks.
        laid_out: whether the kernels get the layout that is fastest for generation. A training would be slower with it.
    """
    embedding = backbone.token_embedding
    dtype = getattr(torch, keras.backend.standardize_dtype(embedding.compute_dtype))
    tables: dict[str, Any] = {}
    try:
        laid_out = laid_out and embedding.embeddings.value.device.type == "cpu"
        blocks = [_block(layer, names, dtype, tables, laid_out) for layer in backbone.transformer_layers]
        positions = getattr(backbone, "position_embedding", None)
        return DecoderWeights(
            blocks,
            _value(embedding.embeddings, dtype),
            None if positions is None else _value(positions.position_embeddings, dtype),
            backbone.hidden_dim**0.5 if names.scaled else 1.0,
            _norm(getattr(backbone, names.last_norm), names),
            dtype,
        )
    # An attribute that is missing: another version of KerasHub has other layers.
    except (UnknownLayer, AttributeError):
        return None


def _block(layer: Any, names: BlockNames, dtype: torch.dtype, tables: dict[str, Any], laid_out: bool) -> Block:
    attention = getattr(layer, names.attention)
    parts = [getattr(attention, name) for name in (names.query, names.key, names.value)]
    gate, inner = _find(layer, names.gate), _find(layer, names.inner)
    heads, groups, size = _heads(attention, parts)
    # One product is faster than two. Without `laid_out` it would need a copy of both kernels.
    gated = laid_out and gate is not None
    rope, window = _find(attention, names.rope), _window(layer, attention)
    if not getattr(attention, "use_rope", True):
        rope = None
    return Block(
        projections=_linear(parts, dtype, laid_out),
        output=_linear([getattr(attention, names.output)], dtype, laid_out),
        gate=None if gate is None or gated else _linear([gate], dtype, laid_out),
        inner=_linear([gate, inner] if gated else [inner], dtype, laid_out),
        outer=_linear([_find(layer, names.outer)], dtype, laid_out),
        gated=gated,
        before=_norm(getattr(layer, names.before), names),
        between=_norm(getattr(layer, names.between), names),
        query_norm=_optional_norm(attention, names.query_norm, names),
        key_norm=_optional_norm(attention, names.key_norm, names),
        after_attention=_optional_norm(layer, names.after_attention, names),
        after_feed_forward=_optional_norm(layer, names.after_feed_forward, names),
        activation=_activation(layer, inner, names),
        heads=heads,
        groups=groups,
        size=size,
        scale=_scale(attention, size),
        cap=getattr(attention, "logit_soft_cap", None),
        window=window,
        rope=None if rope is None else _rope_table(rope, size, dtype, tables),
    )


def _find(layer: Any, path: str) -> Any:
    for name in path.split("."):
        layer = getattr(layer, name) if name else None
    return layer


def _value(variable: Any, dtype: torch.dtype) -> torch.Tensor:
    value: torch.Tensor = variable.value.detach().to(dtype)
    return value


def _linear(layers: Sequence[Any], dtype: torch.dtype, laid_out: bool) -> Linear:
    """Return layers of one input as one layer."""
    kernels = [_kernel(layer, dtype) for layer in layers]
    biases = [layer.bias.value.detach().reshape(-1).to(dtype) for layer in layers if layer.bias is not None]
    if biases and len(biases) < len(layers):
        raise UnknownLayer
    bias = torch.cat(biases) if len(biases) > 1 else next(iter(biases), None)
    inputs, outputs = len(kernels[0]), sum(kernel.shape[1] for kernel in kernels)
    # See the top of the file.
    turned = laid_out and (dtype != torch.float32 or outputs < inputs)
    if turned:
        joined = torch.cat([kernel.T for kernel in kernels]).contiguous()
    else:
        joined = torch.cat(kernels, 1) if len(kernels) > 1 else kernels[0]
    if laid_out:
        parts = (joined.T if turned else joined).split([kernel.shape[1] for kernel in kernels], 1)
        for layer, part in zip(layers, parts, strict=True):
            _show(layer, part)
    return Linear(joined, bias, turned)


def _kernel(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """Return the kernel of a layer (in, out), with its update."""
    if type(layer) not in matrix_layers() or "call" in layer.__dict__ or layer.quantization_mode is not None:
        raise UnknownLayer
    kernel = kernel_matrix(layer, layer._kernel.value.detach())
    if (update := _active_update(layer)) is not None:
        if update.magnitude is not None or update.start is not None:
            raise UnknownLayer
        low = update.a.value.detach().float() @ update.b.value.detach().float()
        kernel = torch.add(kernel.float(), low, alpha=update.scale)
    return kernel.to(dtype)


def _active_update(layer: Any) -> Update | None:
    update: Update | None = getattr(layer, "update", None)
    # With `base_kernel` set, the kernel already holds the update.
    return update if update is not None and update.enabled and update.base_kernel is None else None


def _show(layer: Any, matrix: torch.Tensor) -> None:
    """Let the kernel of a layer be a view of a matrix (in, out) with the same values."""
    variable = layer._kernel
    if _active_update(layer) is not None or variable.value.dtype != matrix.dtype:
        return  # The matrix has other values.
    order, shape = kernel_order(layer), kernel_shape(layer)
    inputs = [shape[axis] for axis in order]
    # The first axes of the order are those of the input.
    split = next(count for count in range(1, len(inputs)) if math.prod(inputs[:count]) == len(matrix))
    view = matrix.unflatten(1, inputs[split:]).unflatten(0, inputs[:split])
    trained = variable.value.requires_grad
    point_at(variable, view.permute([order.index(axis) for axis in range(len(order))]).requires_grad_(trained))


def _heads(attention: Any, parts: Sequence[Any]) -> tuple[int, int, int]:
    """Return the number of query heads, of key heads, and the size of a head."""
    names = ("num_query_heads", "_num_query_heads", "num_attention_heads", "num_heads")
    heads = next(int(getattr(attention, name)) for name in names if hasattr(attention, name))
    size = matrix_shape(parts[0])[1] // heads
    return heads, matrix_shape(parts[1])[1] // size, size


def _scale(attention: Any, size: int) -> float:
    for name in ("_inv_norm_factor", "_inverse_sqrt_key_dim"):
        if hasattr(attention, name):
            return float(getattr(attention, name))
    if attention.query_head_dim_normalize:
        return float(size**-0.5)
    return float((attention.hidden_dim // attention.num_query_heads) ** -0.5)


def _window(layer: Any, attention: Any) -> int | None:
    used = getattr(attention, "use_sliding_window_attention", True)
    size = next(
        (
            getattr(part, name)
            for part in (attention, layer)
            for name in ("sliding_window_size", "sliding_window")
            if getattr(part, name, None)
        ),
        None,
    )
    return int(size) if used and size else None


def _activation(layer: Any, inner: Any, names: BlockNames) -> Callable[[torch.Tensor], torch.Tensor]:
    given: Any = layer.activation if names.gate and not names.activation else getattr(inner, "activation", None)
    if names.activation == "gelu_tanh":
        return functools.partial(torch.nn.functional.gelu, approximate="tanh")
    if names.activation == "silu" or given is keras.activations.silu:
        return torch.nn.functional.silu
    # The functions of Keras and Kerora take tensors.
    return lambda values: given(values)


def _optional_norm(layer: Any, name: str, names: BlockNames) -> Norm | None:
    found = getattr(layer, name, None) if name else None
    return None if found is None else _norm(found, names)


def _norm(layer: Any, names: BlockNames) -> Norm:
    if isinstance(layer, keras.layers.LayerNormalization):
        shape, gamma, beta = tuple(layer.gamma.shape), layer.gamma.value.detach(), layer.beta.value.detach()
        epsilon = layer.epsilon

        def layer_norm(values: torch.Tensor) -> torch.Tensor:
            found = torch.nn.functional.layer_norm(values.float(), shape, gamma.float(), beta.float(), epsilon)
            return found.to(values.dtype)

        return layer_norm
    if type(layer).__name__ not in _ROOT_NORMS:
        raise UnknownLayer
    weight = layer.scale.value.detach().float()
    weight = weight + 1 if names.from_one else weight
    size, epsilon = (len(weight),), layer.epsilon

    def norm(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.rms_norm(values.float(), size, weight, epsilon).to(values.dtype)

    return norm


def _rope_table(
    layer: Any, size: int, dtype: torch.dtype, tables: dict[str, Any]
) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    """Return a function that gives cosines and sines of the first places. Layers with equal settings share it."""
    settings = {name: value for name, value in layer.get_config().items() if name not in ("name", "dtype")}
    key = f"{type(layer).__name__} {settings}"
    if key not in tables:
        held: list[tuple[torch.Tensor, torch.Tensor]] = []

        def table(places: int) -> tuple[torch.Tensor, torch.Tensor]:
            if not held or len(held[0][0]) < places:
                held[:] = [_turned(layer, places, size, dtype)]
            return held[0]

        _check_rope(layer, table, size, dtype)
        tables[key] = table
    found: Callable[[int], tuple[torch.Tensor, torch.Tensor]] = tables[key]
    return found


def _turned(layer: Any, places: int, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the layer itself makes of ones in the first half of a head: cosines in it, sines in the other."""
    half = size // 2
    probe = torch.zeros(1, places, 1, size, dtype=dtype)
    probe[..., :half] = 1
    turned = _rotated(layer, probe)[0, :, 0]
    cosines, sines = turned[:, :half], turned[:, half:]
    return torch.cat([cosines, cosines], 1).contiguous(), torch.cat([-sines, sines], 1).contiguous()


def _rotated(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """Return values (1, places, heads, size) as a rotary layer of KerasHub turns them."""
    with torch.no_grad():
        found = layer(values)
        if not isinstance(found, tuple):
            turned: torch.Tensor = found
            return turned
        # SmolLM 3 has a layer that gives the cosines and sines, (1, places, size).
        cosines, sines = (part[:, :, None].to(values.dtype) for part in found)
        first, second = values.chunk(2, dim=-1)
        return values * cosines + torch.cat([-second, first], -1) * sines


def _check_rope(layer: Any, table: Callable[[int], Any], size: int, dtype: torch.dtype) -> None:
    """Check that the table turns other values too as the layer does. A kind may turn only a part of a head."""
    values = torch.linspace(-1, 1, 7 * size, dtype=torch.float32).reshape(1, 7, 1, size).to(dtype)
    cosines, sines = table(7)
    found = rotate(values[0, :, 0], cosines[:7], sines[:7])
    wanted = _rotated(layer, values)[0, :, 0]
    if not torch.allclose(found.float(), wanted.float(), atol=1e-4 if dtype == torch.float32 else 0.05):
        raise UnknownLayer


def rotate(values: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Return values (..., size) turned by rotary embeddings.

    Args:
        values: queries or keys.
        cosines: (size,) or what broadcasts to `values`.
        sines: likewise; those of the first half of a head are negative.
    """
    return torch.addcmul(values * cosines, values.roll(values.shape[-1] // 2, -1), sines)
