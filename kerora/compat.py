"""Every private attribute of a dependency that Kerora touches outside `kerora.fast`, behind a name.

Checked on Keras 3.15.1, KerasHub 0.32.0, torch 2.13.0 and Optuna 5.0.0; nothing here has a public counterpart there.
tests/contracts/test_private.py lists the attributes, and fails on any that is touched elsewhere. The module loads no
framework.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

MASK_METHODS = ("_compute_self_attention_mask", "_compute_attention_mask")
"""What KerasHub's decoders call the method that makes their mask."""


def flatten_layers(layer: Any, include_self: bool = True) -> list[Any]:
    """Return a Keras layer and all layers inside it, some more than once (`Layer._flatten_layers`)."""
    return list(layer._flatten_layers(include_self=include_self))


def kernel_of(layer: Any) -> Any:
    """Return the variable that a dense layer's kernel is stored in; ``kernel`` gives what it computes with."""
    return layer._kernel


def has_kernel(layer: Any) -> bool:
    """Return whether a layer stores a kernel as Dense and EinsumDense do."""
    return getattr(layer, "_kernel", None) is not None


def own_variables(layer: Any) -> list[Any]:
    """Return the weights of a layer itself, not of layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


@contextmanager
def changing_weights(layer: Any) -> Iterator[None]:
    """Let a built layer take and lose weights inside the block."""
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
    """Drop torch's lists of parameters, of which Keras keeps one in each layer and makes it anew when asked for it.

    A layer that deletes its kernel takes it off its own list alone: those of the layers around it would hold it still.
    """
    for layer in flatten_layers(model):
        if hasattr(layer, "_torch_params"):
            del layer._torch_params


def point_at(variable: Any, value: Any) -> None:
    """Let a Keras variable hold another tensor, whatever its shape."""
    variable._value = value
    variable._shape = tuple(value.shape)


def rename(variable: Any, path: str) -> None:
    """Give a Keras variable another path."""
    variable._path = path


def loss_tracker(model: Any) -> Any:
    """Return the metric that holds the epoch's mean loss of a compiled model."""
    return model._loss_tracker


def is_decayed(optimizer: Any, variable: Any) -> bool:
    """Return whether an optimizer's weight decay takes in a weight; `exclude_from_weight_decay` leaves some out."""
    decayed: bool = optimizer._use_weight_decay(variable)
    return decayed


def set_norms_epsilon(layer: Any, epsilon: float) -> None:
    """Set the epsilon of a layer norm, of KerasHub's models too; other layers are left as they are."""
    for name in ("epsilon", "_epsilon"):
        if isinstance(getattr(layer, name, None), float):
            setattr(layer, name, epsilon)


def mask_method(decoder: type) -> str | None:
    """Return the name of the method that makes a decoder layer's mask; None of other layers."""
    return next((name for name in MASK_METHODS if hasattr(decoder, name)), None)


def build_cache(task: Any, ids: Any) -> Any:
    """Return a language model's cache of keys and values after it read tokens (rows, length)."""
    # models of more than text want more, which may all be None
    extra = [name for name in inspect.signature(task._build_cache).parameters if name != "token_ids"]
    return task._build_cache(ids, **dict.fromkeys(extra))[1]


def cpu_computes_bfloat16(cpu: Any) -> bool:
    """Return whether a processor has the instructions (AVX-512 BF16 or AMX), given ``torch.cpu``."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(cpu, probe, bool)()) for probe in probes)


def trials_of(study: Any) -> Sequence[Any]:
    """Return all trials of an Optuna study: below the Hyperband pruner `get_trials` knows those of one bracket."""
    trials: Sequence[Any] = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return trials


def trial_id(trial: Any) -> int:
    """Return what Optuna's storage calls a trial."""
    number: int = trial._trial_id
    return number
