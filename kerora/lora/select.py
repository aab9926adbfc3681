"""Finds the layers of a model by targets, head names, patterns and block numbers."""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import keras

from kerora.compat import flatten_layers, kernel_of, own_variables
from kerora.errors import ConfigError, nearest
from kerora.lora.layers import DEMOTIONS, PROMOTIONS

ALL_LINEAR = "all-linear"
COMMON_NAMES = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
"""Usual layer names of KerasHub -> the names of these layers in SmolLM3, the only exception."""
Value = TypeVar("Value")


def find_head(model: keras.Model, names: Sequence[str] | None = None) -> list[Any]:
    """Return the layers to train in full.

    Args:
        model: any Keras model.
        names: names of the layers. Default: None, `model.head_layers`, or all layers outside `model.backbone`.

    Raises:
        ConfigError: a name is not a layer of the model.
    """
    if names is not None:
        names = names_in(names)
        by_name = {layer.name: layer for layer in all_layers(model)}
        for name in names:
            if name not in by_name:
                raise ConfigError(f"The model has no layer '{name}' for the head.{nearest(name, by_name)}")
        return [by_name[name] for name in names]
    if hasattr(model, "head_layers"):
        return list(model.head_layers)
    backbone = getattr(model, "backbone", None)
    if backbone is None:
        return []
    # The backbone itself is a layer of the task too. Its first weight shows it.
    inside = {id(variable) for variable in backbone.variables}
    return [layer for layer in model.layers if layer.variables and id(layer.variables[0]) not in inside]


def select_layers(
    model: keras.Model, targets: Sequence[str] | str, leave_out: Sequence[Any] = (), blocks: str | None = None
) -> list[Any]:
    """Return the layers that `targets` names, in the order of the model.

    Args:
        model: a built model.
        targets: see `kerora.lora.inject.enable_lora`.
        leave_out: layers that are trained in full, with all layers inside them. They get no update.
        blocks: the blocks to search. Default: None, all blocks.

    Raises:
        ConfigError: a target matches nothing. The message lists the layers that can match.
    """
    patterns = names_in(targets)
    # PEFT excludes the layers of `modules_to_save` from the targets too.
    taken = {id(inner) for layer in leave_out for inner in flatten_layers(layer)}
    unused = replaced_by_head(model)
    candidates = [
        layer
        for layer in all_layers(model)
        if can_adapt(layer) and id(layer) not in taken and id(kernel_of(layer)) not in unused
    ]
    modules = getattr(model, "module_names", {})
    chosen: dict[int, Any] = {}
    for pattern in patterns:
        matched = [layer for layer in candidates if pattern == ALL_LINEAR or _matches(layer, pattern, modules)]
        if not matched:
            raise _no_match(pattern, candidates, modules)
        chosen.update((id(layer), layer) for layer in matched)
    if not chosen:
        raise ConfigError("No targets given. Name layers such as query,value or 'all-linear'.")
    # The order of the model, not of the targets: the seeds of A follow it.
    selected = [layer for layer in candidates if id(layer) in chosen]
    return selected if blocks is None else _inside_blocks(selected, blocks, candidates)


def names_in(names: Sequence[str] | str) -> tuple[str, ...]:
    """Return names given as a list, or as text with commas as on the command line."""
    if not isinstance(names, str):
        return tuple(names)
    return tuple(name.strip() for name in names.split(",") if name.strip())


def find_modules(model: keras.Model, patterns: Sequence[str] | str) -> list[Any]:
    """Return the innermost layers with weights that match a pattern or are inside a layer that matches.

    Raises:
        ConfigError: a pattern matches nothing.
    """
    modules = getattr(model, "module_names", {})
    patterns = names_in(patterns)
    # Where paths are equal, the later layer replaces the unused one of the backbone.
    leaves = {leaf_path(layer): layer for layer in all_layers(model) if own_variables(layer)}
    found: dict[int, Any] = {}
    for pattern in patterns:
        matched = [layer for path, layer in leaves.items() if _inside(path, pattern, modules)]
        if not matched:
            hint = nearest(pattern, {part for path in leaves for part in path.split("/")})
            raise ConfigError(
                f"Module '{pattern}' matches no layer.{hint} Name layers or paths such as {next(iter(leaves))}."
            )
        found.update((id(layer), layer) for layer in matched)
    return list(found.values())


def first_match(model: keras.Model, layer: Any, patterns: Mapping[str, Value], default: Value, used: set[str]) -> Value:
    """Return the value of the first pattern that matches a layer, and add the pattern to `used`."""
    modules = getattr(model, "module_names", {})
    for pattern, value in patterns.items():
        if _matches(layer, pattern, modules):
            used.add(pattern)
            return value
    return default


def all_layers(model: keras.Model) -> list[Any]:
    """Return the layers with weights in the order of their first weight. Keras lists nested layers backwards."""
    # The order must be the same in each process, because seeds and files depend on it.
    position = {id(variable): index for index, variable in enumerate(model.variables)}
    layers = [layer for layer in flatten_layers(model, include_self=False) if layer.variables]
    return sorted(layers, key=lambda layer: position.get(id(layer.variables[0]), -1))


def replaced_by_head(model: keras.Model) -> set[int]:
    """Return the ids of unused backbone weights: a weight of the head has the same path (as for a replaced pooler)."""
    # The head follows the backbone in `model.variables`.
    last = {variable.path: id(variable) for variable in model.variables}
    return {id(variable) for variable in model.variables if last[variable.path] != id(variable)}


def can_adapt(layer: Any) -> bool:
    """Return whether a layer is a built Dense or EinsumDense that can carry updates."""
    return (type(layer) in PROMOTIONS or type(layer) in DEMOTIONS) and layer.built


def layer_path(layer: Any) -> str:
    """Return the path of a dense layer inside its model, such as ``transformer_layer_0/self_attention/query``."""
    return str(kernel_of(layer).path).rpartition("/")[0]


def leaf_path(layer: Any) -> str:
    """Return the path of a layer that has weights of its own."""
    return str(own_variables(layer)[0].path).rpartition("/")[0]


def block_of(path: str) -> str | None:
    """Return the block of a layer, such as ``transformer_layer_0``, or None if it is not in a block."""
    # The first match: layers inside a block may end in a number too, such as `ffw_gating_2` of Gemma.
    return next((part for part in path.split("/") if re.search(r"_\d+$", part)), None)


def _inside_blocks(selected: Sequence[Any], wanted: str, candidates: Sequence[Any]) -> list[Any]:
    # Numbers count the blocks of the model, not only those with targets.
    blocks = list(dict.fromkeys(block for layer in candidates if (block := block_of(layer_path(layer)))))
    numbers = _block_numbers(wanted, len(blocks))
    inside = {block for number, block in enumerate(blocks) if number in numbers}
    kept = [layer for layer in selected if block_of(layer_path(layer)) in inside]
    if not kept:
        raise ConfigError(f"No target lies in the layers '{wanted}' of the {len(blocks)} there are. Widen one of them.")
    return kept


def _block_numbers(wanted: str, count: int) -> set[int]:
    numbers: set[int] = set()
    for part in wanted.replace(" ", "").split(","):
        found = re.fullmatch(r"(first|last):(\d+)|(\d+)(?:-(\d+))?", part)
        if not found:
            raise ConfigError(
                f"Layers must be 'last:K', 'first:K', numbers or ranges such as 0,4-7. Received: {wanted!r}"
            )
        end, size, low, high = found.groups()
        chosen = range(int(size or 0)) if end else range(int(low), int(high or low) + 1)
        if not chosen or chosen[-1] >= count:
            raise ConfigError(
                f"Layers '{part}' are not within the {count} layers that the model has, 0 to {count - 1}."
            )
        # last:2 gives range(2), counted from the end.
        numbers.update(count - 1 - number if end == "last" else number for number in chosen)
    return numbers


def _matches(layer: Any, pattern: str, modules: Mapping[str, str]) -> bool:
    path = layer_path(layer)
    # as in PEFT, a name is that of a module or of the end of its path
    if f".{modules.get(path, '')}".endswith(f".{pattern}"):
        return True
    if layer.name in (pattern, COMMON_NAMES.get(pattern)):
        return True
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, f"*/{pattern}")


def _inside(path: str, pattern: str, modules: Mapping[str, str]) -> bool:
    return any(
        fnmatch.fnmatchcase(start, pattern) or fnmatch.fnmatchcase(start, f"*/{pattern}")
        for start in _starts(path, "/")
    ) or any(f".{start}".endswith(f".{pattern}") for start in _starts(modules.get(path, ""), "."))


def _starts(path: str, separator: str) -> Iterator[str]:
    parts = path.split(separator)
    return (separator.join(parts[:end]) for end in range(1, len(parts) + 1))


def _no_match(pattern: str, candidates: Sequence[Any], modules: Mapping[str, str]) -> ConfigError:
    names = sorted({layer.name for layer in candidates})
    listing = ", ".join(names) or "no Dense or EinsumDense layer at all"
    theirs = {modules[path].rpartition(".")[2] for path in map(layer_path, candidates) if path in modules}
    listing += f"; or as transformers calls them: {', '.join(sorted(theirs))}" if theirs else ""
    names += sorted(theirs)
    return ConfigError(f"Target '{pattern}' matches no layer.{nearest(pattern, names)} It has: {listing}.")
