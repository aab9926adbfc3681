"""Functions for every private attribute of a dependency that Kerora uses outside `kerora.fast`.

They were checked with Keras 3.15.1, KerasHub 0.32.0, torch 2.13.0 and Optuna 5.0.0, which have no public function for
any of them. tests/contracts/test_private.py lists the attributes, and fails if other modules use a private attribute.
This module imports no framework.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

MASK_METHODS = ("_compute_self_attention_mask", "_compute_attention_mask")
"""Names of the method that makes the mask in the decoders of KerasHub."""


def flatten_layers(layer: Any, include_self: bool = True) -> list[Any]:
    """Return a Keras layer and all layers inside it, some more than once (`Layer._flatten_layers`)."""
    return list(layer._flatten_layers(include_self=include_self))


def kernel_of(layer: Any) -> Any:
    """Return the variable that stores the kernel of a dense layer. ``kernel`` may be a value computed from it."""
    return layer._kernel


def has_kernel(layer: Any) -> bool:
    """Return whether a layer stores a kernel as Dense and EinsumDense do."""
    return getattr(layer, "_kernel", None) is not None


def own_variables(layer: Any) -> list[Any]:
    """Return the weights of a layer itself, not of layers inside it."""
    # `layer.weights` would also return the weights of layers inside.
    return [*layer._trainable_variables, *layer._non_trainable_variables]


@contextmanager
def changing_weights(layer: Any) -> Iterator[None]:
    """Let a built layer take and lose weights inside the block."""
    # Keras locks a built layer: `add_weight` would raise an error.
    layer._tracker.unlock()
    try:
        yield
    finally:
        layer._tracker.lock()


def untrack(layer: Any, variables: Iterable[Any]) -> None:
    """Take weights off a layer that is inside `changing_weights`."""
    for variable in variables:
        layer._untrack_variable(variable)


def forget_torch_parameters(model: Any) -> None:
    """Delete the lists of torch parameters. Keras keeps one in each layer and makes it again on demand.

    A layer that deletes its kernel removes it only from its own list. The lists of the layers around it would still
    hold the kernel in memory.
    """
    for layer in flatten_layers(model):
        if hasattr(layer, "_torch_params"):
            del layer._torch_params


def point_at(variable: Any, value: Any) -> None:
    """Let a Keras variable hold another tensor, whatever its shape."""
    variable._value = value
    # `Variable.shape` returns the stored shape, not that of the value.
    variable._shape = tuple(value.shape)


def state_of(variable: Any) -> tuple[int, int]:
    """Return a value that changes when a Keras variable is assigned, trained, or gets another tensor."""
    # torch counts the changes in place of a tensor.
    return id(variable.value), int(variable.value._version)


def rename(variable: Any, path: str) -> None:
    """Give a Keras variable another path."""
    # `path` has no setter.
    variable._path = path


def loss_tracker(model: Any) -> Any:
    """Return the metric that holds the epoch's mean loss of a compiled model."""
    return model._loss_tracker


def is_decayed(optimizer: Any, variable: Any) -> bool:
    """Return whether the weight decay of an optimizer includes a weight; `exclude_from_weight_decay` excludes some."""
    decayed: bool = optimizer._use_weight_decay(variable)
    return decayed


def set_norms_epsilon(layer: Any, epsilon: float) -> None:
    """Set the epsilon of a layer norm of Keras or KerasHub. Other layers do not change."""
    for name in ("epsilon", "_epsilon"):
        if isinstance(getattr(layer, name, None), float):
            setattr(layer, name, epsilon)


def mask_method(decoder: type) -> str | None:
    """Return the name of the method that makes the mask of a decoder layer, or None for other layers."""
    return next((name for name in MASK_METHODS if hasattr(decoder, name)), None)


def build_cache(task: Any, ids: Any) -> Any:
    """Return the cache of keys and values of a language model after it read tokens (rows, length)."""
    # Models for text and images have more parameters. All of them may be None.
    extra = [name for name in inspect.signature(task._build_cache).parameters if name != "token_ids"]
    return task._build_cache(ids, **dict.fromkeys(extra))[1]


def cpu_computes_bfloat16(cpu: Any) -> bool:
    """Return whether a processor has the instructions (AVX-512 BF16 or AMX), given ``torch.cpu``."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    # A torch without a probe gives False, because `bool()` is False.
    return any(bool(getattr(cpu, probe, bool)()) for probe in probes)


def trials_of(study: Any) -> Sequence[Any]:
    """Return all trials of an Optuna study. With the Hyperband pruner `get_trials` returns only those of a bracket."""
    trials: Sequence[Any] = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return trials


def trial_id(trial: Any) -> int:
    """Return the id of a trial in the storage of Optuna."""
    number: int = trial._trial_id
    return number
