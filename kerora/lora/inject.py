"""Select layers, put low-rank updates on them, freeze the rest, and count."""

import contextlib
import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerora.errors import ConfigError, nearest
from kerora.lora.layers import PROMOTIONS, LoraLayer, demote, matrix_shape, promote

ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class LoraSummary:
    """What `enable_lora` made trainable, in numbers of scalars."""

    lora: int
    head: int
    total: int
    layers: tuple[str, ...]

    @property
    def trainable(self) -> int:
        """All trainable scalars (with `train_bias`, the biases count under `lora`)."""
        return self.lora + self.head

    def __str__(self) -> str:
        share = 100 * self.trainable / max(1, self.total)
        return (
            f"trainable {self.trainable:,} (LoRA {self.lora:,} + head {self.head:,}) of {self.total:,} ({share:.2f} %)"
        )


def enable_lora(
    model: keras.Model,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.05,
    targets: Sequence[str] | str = ("query", "value"),
    *,
    train_bias: bool = False,
    head: Sequence[str] | None = None,
    seed: int = 0,
) -> LoraSummary:
    """Adapt a built Keras model with standard LoRA (Hu et al. 2021, arXiv:2106.09685).

    Every matched Dense or EinsumDense layer computes ``xW + b + (alpha / rank) * dropout(x) A B``;
    all else is frozen except the head. Call `model.compile` after this, not before.

    Args:
        model: any built `keras.Model`.
        rank: columns of A; default 8.
        alpha: numerator of the scale; default 16.
        dropout: share of the low-rank path's inputs dropped in training; default 0.05.
        targets: layer names, path patterns with ``*`` (matched against the whole path or its
            end), ``"all-linear"``: every such layer outside the head, or for Kerora's models what
            transformers calls the modules, matched as PEFT does (``c_attn``: query, key and value).
        train_bias: also train the biases of the adapted layers; default False.
        head: names of the layers to train in full; None takes the model's own
            (`model.head_layers`, or for a KerasHub task all outside its backbone).
        seed: seed of A.

    Returns:
        The counts, printable as ``trainable N (LoRA a + head b) of M (x %)``.

    Raises:
        ConfigError: no layer matches (the message lists what could), a setting is out of range,
            the rank is above a layer's smaller side, the model is not built, or has LoRA already.
    """
    _check_settings(rank, alpha, dropout)
    _check_model(model)
    head_layers = find_head(model, head)
    chosen = select_layers(model, targets, head_layers)
    _check_rank(chosen, rank)
    original = {id(variable): variable.trainable for variable in model.variables}
    for index, layer in enumerate(chosen):
        promote(layer, rank, alpha, dropout, seed=(seed, index))
    _freeze(model, chosen, head_layers, train_bias)
    model._kerora_trainable = original
    if getattr(model, "compiled", False):
        # its optimizer knows the old set of weights; Keras now asks for a new compile
        model.compiled = False
    return summarize(model, head_layers)


def remove_lora(model: keras.Model) -> None:
    """Take all updates off; the model is the base again, bit for bit, and trainable as before."""
    for layer in lora_layers(model):
        demote(layer)
    original = model.__dict__.pop("_kerora_trainable", {})
    for variable in model.variables:
        variable.trainable = original.get(id(variable), variable.trainable)


def merge_lora(model: keras.Model) -> None:
    """Add the updates to the kernels: the same output within rounding, at the base's cost."""
    for layer in lora_layers(model):
        layer.merge()


def unmerge_lora(model: keras.Model) -> None:
    """Undo `merge_lora`; the kernels are restored bit for bit."""
    for layer in lora_layers(model):
        layer.unmerge()


@contextlib.contextmanager
def disable_adapter(model: keras.Model) -> Iterator[None]:
    """Inside the block the adapted layers compute what the base computes.

    Raises:
        ConfigError: the updates are merged into the kernels.
    """
    layers = lora_layers(model)
    updates = [layer.update for layer in layers if layer.update is not None]
    if any(update.base_kernel is not None for update in updates):
        raise ConfigError("The LoRA updates are merged. Call kerora.unmerge_lora(model) before disabling them.")
    before = [update.enabled for update in updates]
    for update in updates:
        update.enabled = False
    try:
        yield
    finally:
        for update, enabled in zip(updates, before, strict=True):
            update.enabled = enabled


def lora_layers(model: keras.Model) -> list[Any]:
    """Return the layers that carry an update, in the order of the model."""
    return [layer for layer in _layers(model) if isinstance(layer, LoraLayer) and layer.update is not None]


def find_head(model: keras.Model, names: Sequence[str] | None = None) -> list[Any]:
    """Return the layers to train in full.

    Raises:
        ConfigError: a name is not a layer of the model.
    """
    if names is not None:
        by_name = {layer.name: layer for layer in _layers(model)}
        for name in names:
            if name not in by_name:
                raise ConfigError(f"The model has no layer '{name}' for the head.{nearest(name, by_name)}")
        return [by_name[name] for name in names]
    if hasattr(model, "head_layers"):
        return list(model.head_layers)
    backbone = getattr(model, "backbone", None)
    if backbone is None:
        return []
    inside = {id(variable) for variable in backbone.variables}
    return [layer for layer in model.layers if layer.variables and id(layer.variables[0]) not in inside]


def select_layers(model: keras.Model, targets: Sequence[str] | str, head: Sequence[Any] = ()) -> list[Any]:
    """Return the layers that `targets` names.

    Raises:
        ConfigError: a target matches nothing; the message lists what could match.
    """
    patterns = (targets,) if isinstance(targets, str) else tuple(targets)
    heads = {id(inner) for layer in head for inner in layer._flatten_layers()}
    candidates = [layer for layer in _layers(model) if _can_adapt(layer) and id(layer) not in heads]
    modules = getattr(model, "module_names", {})
    chosen: dict[int, Any] = {}
    for pattern in patterns:
        matched = [layer for layer in candidates if pattern == ALL_LINEAR or _matches(layer, pattern, modules)]
        if not matched:
            names = sorted({layer.name for layer in candidates})
            listing = ", ".join(names) or "no Dense or EinsumDense layer at all"
            theirs = {modules[path].rpartition(".")[2] for path in map(layer_path, candidates) if path in modules}
            listing += f"; or as transformers calls them: {', '.join(sorted(theirs))}" if theirs else ""
            names += sorted(theirs)
            raise ConfigError(f"Target '{pattern}' matches no layer.{nearest(pattern, names)} It has: {listing}.")
        chosen.update((id(layer), layer) for layer in matched)
    if not chosen:
        raise ConfigError("No targets given. Name layers such as query,value or 'all-linear'.")
    return [layer for layer in candidates if id(layer) in chosen]


def summarize(model: keras.Model, head: Sequence[Any]) -> LoraSummary:
    """Count the trainable scalars of a model."""
    heads = {id(variable) for layer in head for variable in layer.variables}
    trainable = model.trainable_variables
    sizes = [(id(variable) in heads, _size(variable)) for variable in trainable]
    return LoraSummary(
        lora=sum(size for in_head, size in sizes if not in_head),
        head=sum(size for in_head, size in sizes if in_head),
        total=sum(_size(weight) for weight in model.weights),
        layers=tuple(layer_path(layer) for layer in lora_layers(model)),
    )


def layer_path(layer: Any) -> str:
    """Return the path of a layer inside its model, such as ``transformer_layer_0/self_attention/query``."""
    return str(layer._kernel.path).rpartition("/")[0]


def _layers(model: keras.Model) -> list[Any]:
    # by the order of their first weight: Keras' own order runs backwards through nested layers
    position = {id(variable): index for index, variable in enumerate(model.variables)}
    layers = [layer for layer in model._flatten_layers(include_self=False) if layer.variables]
    return sorted(layers, key=lambda layer: position.get(id(layer.variables[0]), -1))


def _can_adapt(layer: Any) -> bool:
    return type(layer) in PROMOTIONS and layer.built


def _matches(layer: Any, pattern: str, modules: Mapping[str, str]) -> bool:
    path = layer_path(layer)
    # as in PEFT, a name is that of a module or of the end of its path
    if f".{modules.get(path, '')}".endswith(f".{pattern}"):
        return True
    return layer.name == pattern or fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"*/{pattern}")


def _check_settings(rank: int, alpha: float, dropout: float) -> None:
    if not isinstance(rank, int) or rank < 1:
        raise ConfigError(f"The LoRA rank must be a whole number, 1 or more. Received: {rank!r}")
    if not 0 < alpha < math.inf:
        raise ConfigError(f"The LoRA alpha must be greater than 0. Received: {alpha!r}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"The LoRA dropout must be at least 0 and less than 1. Received: {dropout!r}")


def _check_model(model: keras.Model) -> None:
    if not model.built:
        raise ConfigError("The model has no weights yet. Call it on a batch or build it before enable_lora.")
    if lora_layers(model):
        raise ConfigError("The model has LoRA already. Call kerora.remove_lora(model) first.")
    if any(getattr(layer, "lora_enabled", False) for layer in _layers(model)):
        raise ConfigError(
            "Keras' own LoRA is on a layer of this model. Load it afresh and use kerora.enable_lora alone."
        )


def _check_rank(layers: Sequence[Any], rank: int) -> None:
    # before the first layer is touched, so that a refused call leaves the model as it was
    for layer in layers:
        inputs, outputs = matrix_shape(layer)
        if rank > min(inputs, outputs):
            raise ConfigError(
                f"Rank {rank} exceeds the smaller side of layer '{layer_path(layer)}' ({inputs} x {outputs}). "
                f"Use a rank of {min(inputs, outputs)} or less."
            )


def _freeze(model: keras.Model, chosen: Sequence[Any], head: Sequence[Any], train_bias: bool) -> None:
    keep = {id(variable) for layer in head for variable in layer.trainable_variables}
    for layer in chosen:
        keep |= {id(layer.update.a), id(layer.update.b)}
        if train_bias and layer.bias is not None:
            keep.add(id(layer.bias))
    for variable in model.variables:
        variable.trainable = id(variable) in keep


def _size(variable: Any) -> int:
    size = 1
    for side in variable.shape:
        size *= int(side)
    return size
