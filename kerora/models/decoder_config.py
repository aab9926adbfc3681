"""Checks the config of a decoder that KerasHub converts. Its converters ignore settings that they cannot express."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerora.compat import flatten_layers
from kerora.errors import PresetError
from kerora.models.architectures import Architecture

WINDOWED, WHOLE = "sliding_attention", "full_attention"


def check_decoder(path: Path, config: Mapping[str, Any], architecture: Architecture) -> None:
    """Check the settings that are not a plain value of `Architecture.required`.

    Args:
        path: config.json, for messages.
        config: its content.
        architecture: the kind.

    Raises:
        PresetError: KerasHub would compute something else than the config says.
    """
    size = _head_size(config)
    if architecture.plain_heads and config.get("head_dim") not in (None, size):
        raise _refused(
            path, architecture, "head_dim", config["head_dim"], f"hidden_size / num_attention_heads = {size}"
        )
    scalar, head = config.get("query_pre_attn_scalar"), config.get("head_dim", size)
    if scalar is not None and scalar not in (head, size):
        needed = f"head_dim = {head}, or hidden_size / num_attention_heads = {size}"
        raise _refused(path, architecture, "query_pre_attn_scalar", scalar, needed)
    _check_windows(path, config, architecture)


def _check_windows(path: Path, config: Mapping[str, Any], architecture: Architecture) -> None:
    types: Sequence[str] = config.get("layer_types") or ()
    pattern = architecture.window_pattern
    period = config.get("sliding_window_pattern")
    if pattern and not types and period is not None and period != len(pattern):
        raise _refused(path, architecture, "sliding_window_pattern", period, str(len(pattern)))
    if not types or set(types) == {WHOLE}:
        return
    wanted = [WINDOWED if pattern[place % len(pattern)] else WHOLE for place in range(len(types))] if pattern else []
    if list(types) != wanted:
        place = next((place for place, (one, other) in enumerate(zip(types, wanted, strict=False)) if one != other), 0)
        needed = f"{wanted[place]!r} there" if wanted else repr(WHOLE)
        raise _refused(path, architecture, f"layer_types[{place}]", types[place], needed)


def set_query_scale(backbone: Any, config: Mapping[str, Any]) -> None:
    """Let a backbone divide its queries by the root of the config's number. A converter always takes the head size."""
    scalar = config.get("query_pre_attn_scalar")
    if scalar is None:
        return
    by_head = scalar == config.get("head_dim", _head_size(config))
    for layer in (backbone, *flatten_layers(backbone)):
        if hasattr(layer, "query_head_dim_normalize"):
            layer.query_head_dim_normalize = by_head


def _head_size(config: Mapping[str, Any]) -> int | None:
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else None


def _refused(path: Path, architecture: Architecture, key: str, value: Any, needed: str) -> PresetError:
    return PresetError(
        f"{path}: KerasHub's {architecture.title} cannot express {key}={value!r}; it needs {needed}. "
        "Choose another model."
    )
