"""The JSON Schema of the settings, for editors that complete and check YAML files."""

import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from kerora.settings.base import Bounds, Settings
from kerora.settings.fit import FitConfig
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import Setting, settings

SCHEMA_FILES: dict[type[Settings], str] = {
    FitConfig: "kerora-fit.schema.json",
    PretrainConfig: "kerora-pretrain.schema.json",
}
"""File name of the schema beside the YAML file."""
_TITLES = {FitConfig: "Settings of `kerora fit`", PretrainConfig: "Settings of `kerora pretrain`"}
_DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest one that all editors know
# Numbers are names too: YAML reads an unquoted 5 as a number, and the settings turn it into text.
_TEXT: list[str] = ["string", "number"]
_TYPES: dict[Any, Any] = {bool: ["boolean"], int: ["integer"], float: ["number", "string"], str: _TEXT}
# YAML 1.1 reads 1e-3 as text, and the settings turn it into a number
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


def schema(root: type[Settings] = FitConfig) -> dict[str, Any]:
    """Return the schema of a settings file: type, default, description, choices and bounds of every setting.

    A key may stand in its group or have a dotted name, as `kerora fit --config` takes both.

    Args:
        root: `FitConfig` or `PretrainConfig`.
    """
    items = list(settings(root))
    own: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    for item in items:
        group, _, name = item.path.rpartition(".")
        (groups.setdefault(group, {}) if group else own)[name] = describe(item)
    for name, properties in groups.items():
        own[name] = {"type": ["object", "null"], "properties": properties, "additionalProperties": False}
    dotted = {f"^{item.path.replace('.', chr(92) + '.')}$": describe(item) for item in items if "." in item.path}
    return {
        "$schema": _DRAFT,
        "title": _TITLES[typing.cast(Any, root)],
        "type": ["object", "null"],
        "properties": own,
        "patternProperties": dotted,
        "additionalProperties": False,
    }


def schema_text(root: type[Settings] = FitConfig) -> str:
    """Return the schema as the text of its file."""
    return json.dumps(schema(root), indent=2, ensure_ascii=False) + "\n"


def is_schema(text: str, root: type[Settings]) -> bool:
    """Tell whether a text is the schema of these settings, of this or another version of Kerora."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, Mapping) and value.get("title") == _TITLES[typing.cast(Any, root)]


def describe(item: Setting) -> dict[str, Any]:
    """Return the schema of one setting."""
    arms = typing.get_args(item.type) if typing.get_origin(item.type) is types.UnionType else (item.type,)
    empty = ["null"] if type(None) in arms else []
    kind = next(arm for arm in arms if arm is not type(None))
    facts = {
        "description": item.help,
        "default": list(item.default) if isinstance(item.default, tuple) else item.default,
    }
    if typing.get_origin(kind) is tuple:
        # a list, or one text with commas, or a number as the only name, or nothing
        names = {"enum": list(item.choices)} if item.choices else {"type": _TEXT}
        return {**facts, "anyOf": [{"type": "array", "items": names}, {"type": ["string", "integer", "null"]}]}
    if item.choices:
        return {**facts, "enum": [*item.choices, *([None] if empty else [])]}
    pattern = {"pattern": _NUMBER} if kind is float else {}
    return {**facts, "type": [*_TYPES[kind], *empty], **pattern, **_limits(item.bounds)}


def _limits(bounds: Bounds | None) -> dict[str, float]:
    if bounds is None:
        return {}
    low = {"exclusiveMinimum" if bounds.open else "minimum": bounds.low}
    return low if bounds.high is None else {**low, "exclusiveMaximum": bounds.high}
