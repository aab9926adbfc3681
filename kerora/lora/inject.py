"""Adds low-rank updates to the layers of a model, freezes the other weights, and counts them."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import keras

from kerora.compat import kernel_of
from kerora.errors import ConfigError
from kerora.kernels import matrix_shape
from kerora.lora.layers import LoraLayer, UpdateSettings, demote, promote
from kerora.lora.select import (
    all_layers,
    find_head,
    find_modules,
    first_match,
    layer_path,
    replaced_by_head,
    select_layers,
)
from kerora.settings.lora import BIASES, INITS

BIAS_NAMES = ("bias", "beta")
"""Names of bias variables: of dense layers, and of norms."""


@dataclass(frozen=True)
class LoraSummary:
    """Numbers of trainable scalars after `enable_lora`, `train_full` or `train_head`.

    Attributes:
        lora: trainable scalars outside of the head: LoRA updates, biases and other layers.
        head: trainable scalars of the head.
        total: all scalars.
        layers: paths of the adapted layers. Empty if no layer is adapted.
    """

    lora: int
    head: int
    total: int
    layers: tuple[str, ...]

    @property
    def trainable(self) -> int:
        """All trainable scalars. Trained biases and layers outside the head count under `lora`."""
        return self.lora + self.head

    def __str__(self) -> str:
        share = 100 * self.trainable / max(1, self.total)
        # without an adapted layer, the weights outside of the head are those of the base model itself
        own = f"{'LoRA' if self.layers else 'base model'} {self.lora:,}" if self.lora else ""
        parts = " + ".join(part for part in (own, f"head {self.head:,}" if self.head else "") if part)
        return f"trainable {self.trainable:,} ({parts or 'nothing'}) of {self.total:,} ({share:.2f} %)"


class LoraOptions(TypedDict, total=False):
    """Variants of LoRA; all are off by default.

    Attributes:
        use_rslora: scale by alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732).
        use_dora: train the magnitude of each column separately (Liu et al. 2024, arXiv:2402.09353).
        init: ``default``, or ``pissa``: A and B start from the largest singular vectors of the kernel (Meng et al.
            2024, arXiv:2404.02948). Files hold such an adapter with twice the rank.
        rank_pattern: rank of the layers that a pattern matches, as in `targets`. The first match counts.
        alpha_pattern: alpha of the layers that a pattern matches.
        layers: adapt only these blocks: ``last:K``, ``first:K``, or numbers and ranges from 0 such as ``0,4-7``.
        modules_to_save: more layers to train in full, as in `targets`, with all layers inside them.
    """

    use_rslora: bool
    use_dora: bool
    init: str
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    layers: str | None
    modules_to_save: Sequence[str]


def enable_lora(
    model: keras.Model,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.05,
    targets: Sequence[str] | str = ("query", "value"),
    *,
    bias: str = "none",
    head: Sequence[str] | None = None,
    seed: int = 0,
    **options: Unpack[LoraOptions],
) -> LoraSummary:
    """Adapt a built Keras model with LoRA (Hu et al. 2021, arXiv:2106.09685) or one of its variants.

    Every matched Dense or EinsumDense layer computes ``xW + b + (alpha / rank) * dropout(x) A B``. All other weights
    except those of the head are frozen. Call `model.compile` after this function, not before.

    Args:
        model: any built `keras.Model`.
        rank: columns of A. Default: 8.
        alpha: numerator of the scale. Default: 16.
        dropout: fraction of the inputs of A that is dropped during training. Default: 0.05.
        targets: layer names, as a list or with commas (``"query,value"``); path patterns with ``*``, matched against
            the whole path or its end; ``"all-linear"`` for every such layer outside the head; or, for models of Kerora,
            module names of transformers, matched as in PEFT (``c_attn``: query, key and value). Default: query and
            value.
        bias: the biases to train: ``none``, ``lora_only`` (of the adapted layers) or ``all``. Default: none.
        head: names of the layers to train in full. Default: None, `model.head_layers`, or for a KerasHub task all
            layers outside its backbone.
        seed: seed of A. Default: 0.
        **options: variants and patterns; see `LoraOptions`.

    Returns:
        The counts, printable as ``trainable N (LoRA a + head b) of M (x %)``.

    Raises:
        ConfigError: no layer matches (the message lists the layers that can match), a setting is out of range, the rank
            is larger than the smaller side of a kernel, the model is not built, or it has LoRA already.
    """
    _check_choices(bias, options.get("init", "default"))
    _check_model(model)
    # Every name and pattern is resolved before `install`, so that an error changes nothing.
    head_layers = find_head(model, head)
    extra = find_modules(model, options.get("modules_to_save", ()))
    # Layers that are trained in full get no update: it would learn the same change twice.
    chosen = select_layers(model, targets, [*head_layers, *extra], options.get("layers"))
    plan = _settings_of(model, chosen, (rank, alpha, dropout), options)
    install(model, plan, bias, [*head_layers, *extra], seed)
    return summarize(model, head_layers)


def install(
    model: keras.Model, plan: Sequence[tuple[Any, UpdateSettings]], bias: str, full: Sequence[Any], seed: int = 0
) -> None:
    """Add the updates to the layers and set which weights are trainable.

    Args:
        model: a built model without LoRA.
        plan: the layers to adapt, each with its settings.
        bias: see `enable_lora`.
        full: the layers that are trained in full.
        seed: seed of A.

    Raises:
        ConfigError: a setting is out of range. The model is not changed.
    """
    for layer, settings in plan:
        # All layers are checked before the first one is changed.
        _check_settings(settings)
        _check_rank(layer, settings.rank)
        if not kernel_of(layer).value.is_floating_point() and (settings.use_dora or settings.pissa):
            raise ConfigError(
                f"Layer '{layer_path(layer)}' is quantised: DoRA and PiSSA need the kernel itself. "
                "Leave out --quantize, or --use-dora and --init pissa."
            )
    _remember_trainable(model)
    for index, (layer, settings) in enumerate(plan):
        # A seed for each layer: with one seed, all A of the same shape would be equal.
        promote(layer, settings, seed=(seed, index))
    original = model._kerora_trainable
    # A variable that was never trainable, such as the state of a seed generator, stays as it is.
    keep = [variable for layer in full for variable in layer.variables if original[id(variable)]]
    # `original` lacks A and B, which `promote` adds after it was stored.
    keep += [variable for layer, _ in plan for variable in layer.update.variables]
    if bias == "lora_only":
        keep += [layer.bias for layer, _ in plan if layer.bias is not None]
    elif bias == "all":
        # A replaced pooler does not affect the output, so its bias would get no gradient.
        unused = replaced_by_head(model)
        keep += [variable for variable in model.variables if variable.name in BIAS_NAMES and id(variable) not in unused]
    _train_only(model, keep)


def train_full(model: keras.Model) -> LoraSummary:
    """Make every weight trainable: full fine-tuning."""
    _check_model(model)
    _remember_trainable(model)
    unused = replaced_by_head(model)
    # Quantized kernels are integers, which have no gradient.
    _train_only(model, [w for w in model.weights if w.value.is_floating_point() and id(w) not in unused])
    return summarize(model, find_head(model))


def train_head(model: keras.Model) -> LoraSummary:
    """Make only the head trainable: a probe of the frozen model.

    Raises:
        ConfigError: the model has no head.
    """
    _check_model(model)
    head = find_head(model)
    if not head:
        raise ConfigError("The model has no head to train alone. Use --method lora or full.")
    _remember_trainable(model)
    _train_only(model, [variable for layer in head for variable in layer.variables])
    return summarize(model, head)


def remove_lora(model: keras.Model) -> None:
    """Remove all updates. The model equals the base model bit for bit, and the same weights are trainable as before."""
    for layer in lora_layers(model):
        demote(layer)
    original = model.__dict__.pop("_kerora_trainable", {})
    for variable in model.variables:
        variable.trainable = original.get(id(variable), variable.trainable)


def merge_lora(model: keras.Model) -> None:
    """Add the updates to the kernels: the same outputs within rounding, as fast as the base model."""
    for layer in lora_layers(model):
        layer.merge()


def unmerge_lora(model: keras.Model) -> None:
    """Undo `merge_lora`. The kernels are restored bit for bit."""
    for layer in lora_layers(model):
        layer.unmerge()


@contextlib.contextmanager
def disable_adapter(model: keras.Model) -> Iterator[None]:
    """Inside the block, make the adapted layers compute the same as in the base model.

    Raises:
        ConfigError: the updates are merged into the kernels.
    """
    layers = lora_layers(model)
    updates = [layer.update for layer in layers if layer.update is not None]
    # The merged kernel would still contain the update.
    if any(update.base_kernel is not None for update in updates):
        raise ConfigError("The LoRA updates are merged. Call kerora.unmerge_lora(model) before disabling them.")
    # Blocks may be nested, so the state before this one is restored.
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
    return [layer for layer in all_layers(model) if isinstance(layer, LoraLayer) and layer.update is not None]


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


def _settings_of(
    model: keras.Model, layers: Sequence[Any], defaults: tuple[int, float, float], options: LoraOptions
) -> list[tuple[Any, UpdateSettings]]:
    rank, alpha, dropout = defaults
    ranks, alphas = options.get("rank_pattern", {}), options.get("alpha_pattern", {})
    # A misspelt pattern would silently leave the default, so patterns without a match are an error.
    used: set[str] = set()
    plan = [
        (
            layer,
            UpdateSettings(
                rank=first_match(model, layer, ranks, rank, used),
                alpha=first_match(model, layer, alphas, alpha, used),
                dropout=dropout,
                use_rslora=options.get("use_rslora", False),
                use_dora=options.get("use_dora", False),
                pissa=options.get("init") == "pissa",
            ),
        )
        for layer in layers
    ]
    unused = [pattern for pattern in (*ranks, *alphas) if pattern not in used]
    if unused:
        raise ConfigError(
            f"Pattern '{unused[0]}' matches none of the adapted layers. Take it out or widen the targets."
        )
    return plan


def _check_choices(bias: str, init: str) -> None:
    if bias not in BIASES:
        raise ConfigError(f"bias must be one of {', '.join(BIASES)}. Received: {bias!r}")
    if init not in INITS:
        raise ConfigError(f"init must be one of {', '.join(INITS)}. Received: {init!r}")


def _check_settings(settings: UpdateSettings) -> None:
    rank, alpha, dropout = settings.rank, settings.alpha, settings.dropout
    # A bool is an int in Python: True would pass as rank 1.
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
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
    # Keras adds its own A B inside the property `kernel`, so both updates would apply.
    if any(getattr(layer, "lora_enabled", False) for layer in all_layers(model)):
        raise ConfigError(
            "Keras' own LoRA is on a layer of this model. Load it afresh and use kerora.enable_lora alone."
        )


def _check_rank(layer: Any, rank: int) -> None:
    inputs, outputs = matrix_shape(layer)
    # A larger rank adds weights, but A B cannot have a higher rank than the kernel.
    if rank > min(inputs, outputs):
        raise ConfigError(
            f"Rank {rank} exceeds the smaller side of layer '{layer_path(layer)}' ({inputs} x {outputs}). "
            f"Use a rank of {min(inputs, outputs)} or less."
        )


def _remember_trainable(model: keras.Model) -> None:
    # With other adapters on the model, the state from before the first one must be kept.
    known = model.__dict__.get("_kerora_trainable", {})
    # An ordinary assignment would let Keras track the dictionary.
    model.__dict__["_kerora_trainable"] = {id(v): v.trainable for v in model.variables} | known


def _train_only(model: keras.Model, variables: Sequence[Any]) -> None:
    keep = {id(variable) for variable in variables}
    for variable in model.variables:
        variable.trainable = id(variable) in keep
    if getattr(model, "compiled", False):
        # The optimizer knows the old set of weights. Keras now asks the user to compile again.
        model.compiled = False


def _size(variable: Any) -> int:
    size = 1
    for side in variable.shape:
        size *= int(side)
    return size
