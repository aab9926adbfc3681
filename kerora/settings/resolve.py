"""Builds checked settings from layers of plain values, and writes them as YAML."""

import dataclasses
import os
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import yaml

from kerora.errors import ConfigError, nearest
from kerora.settings.base import Bounds, Settings, is_table, shown, type_of
from kerora.settings.fit import DataConfig, FitConfig
from kerora.settings.foreign import own_name
from kerora.settings.pretrain import PretrainConfig

Group = TypeVar("Group", bound=Settings)
Root = TypeVar("Root", FitConfig, PretrainConfig)
"""The complete settings of a command."""
HERE = "$CONFIG_DIR/"
"""Start of a path in a YAML file that is relative to the folder of that file."""
FILES = ("data.source", "data.train", "data.validation", "data.test")
"""The settings that can be such a path."""
_RENAMED = {"language.stride": "language.window_step"}
"""Earlier names of settings, in the files of old runs."""


@dataclass(frozen=True)
class Setting:
    """One setting, as the command line and the documentation use it."""

    path: str
    type: Any
    default: Any
    help: str
    choices: tuple[str, ...]
    bounds: Bounds | None = None

    @property
    def option(self) -> str:
        """Long option, such as ``--learning-rate``. The option of ``data.source`` is ``--data``."""
        name = self.path.removeprefix("data.") if self.path != "data.source" else "data"
        return "--" + name.rpartition(".")[2].replace("_", "-")


def settings(group: type[Settings] = FitConfig, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting of a group and of the groups inside it, in order of definition."""
    for spec in dataclasses.fields(typing.cast(Any, group)):
        kind = type_of(group, spec.name)
        path = f"{prefix}{spec.name}"
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield from settings(kind, f"{path}.")
        else:
            default = spec.default if spec.default is not MISSING else None
            check = spec.metadata["check"]
            bounds = check if isinstance(check, Bounds) else None
            yield Setting(path, kind, default, spec.metadata["help"], tuple(spec.metadata["choices"]), bounds)


@overload
def resolve(*layers: Mapping[str, Any]) -> FitConfig: ...
@overload
def resolve(*layers: Mapping[str, Any], root: type[Root]) -> Root: ...
def resolve(*layers: Mapping[str, Any], root: type[Settings] = FitConfig) -> Any:
    """Build a config from layers of dotted keys or nested mappings. A later layer overrides an earlier one.

    Args:
        *layers: the mappings.
        root: the class of the config: `FitConfig` or `PretrainConfig`.

    Raises:
        ConfigError: unknown key (with the nearest name), wrong type, or value out of range.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        # flat before merging: one key of a group must not replace the other keys of that group
        merged.update(flatten(layer, root=root))
    return _build(root, "", merged)


def as_settings(value: Any, root: type[Group]) -> Group:
    """Return settings as an instance of their class.

    Args:
        value: an instance, or a mapping of keys (nested, or with dots). For `DataConfig` also the source alone, as text
            or path.
        root: the class, such as `FitConfig`.

    Raises:
        ConfigError: the value is of another type, or a setting in it is wrong.
    """
    if isinstance(value, root):
        return value
    if isinstance(value, Mapping):
        built: Group = _build(root, "", flatten(value, root=root))
        return built
    if root is DataConfig and isinstance(value, str | os.PathLike):
        return root(source=value)  # type: ignore[call-arg]
    example = "{'source': 'rows.csv'}" if root is DataConfig else "{'data.source': 'rows.csv'}"
    remedy = f"Write the table to a file and give {example}." if is_table(value) else f"Give a dict such as {example}."
    raise ConfigError(f"The settings must be a {root.__name__} or a dict. Received: {shown(value)}. {remedy}")


def flatten(nested: Mapping[str, Any], prefix: str = "", root: type[Settings] = FitConfig) -> dict[str, Any]:
    """Turn nested mappings into dotted keys.

    Raises:
        ConfigError: a key is unknown.
    """
    known = {item.path for item in settings(root)}
    groups = {path.rpartition(".")[0] for path in known} - {""}
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        if isinstance(value, Settings):
            value = to_dict(value)  # a group inside a dict
        if path not in known and _RENAMED.get(path) in known:
            path = _RENAMED[path]
            if path in flat or path.rpartition(".")[2] in nested:
                raise ConfigError(f"Setting '{path}' is given twice, once as '{key}'. Leave '{key}' out.")
        if path in known:
            flat[path] = value
        elif path in groups and isinstance(value, Mapping):
            flat.update(flatten(value, f"{path}.", root))
        elif path in groups and value is not None:
            raise ConfigError(f"Setting '{path}' is a group and needs keys inside it. Received: {value!r}")
        elif path not in groups:
            names = {p.rpartition(".")[2]: p for p in known}
            own = own_name(str(key).rpartition(".")[2], names)
            # the last attempt finds a right name that stands in the wrong group
            other = nearest(path, known | groups) or nearest(str(key), names)
            hint = f" Here it is '{names[own]}'." if own else other
            remedy = f"`kerora init{'' if root is FitConfig else ' --pretrain'}` writes a file with every setting."
            raise ConfigError(f"Unknown setting '{path}'.{hint} {remedy}")
    return flat


def load_yaml(path: Path, root: type[Settings] = FitConfig) -> dict[str, Any]:
    """Read a YAML config as a mapping of dotted keys.

    A path of rows that begins with ``$CONFIG_DIR/`` is relative to the folder of the file. All other paths are relative
    to the working directory.

    Raises:
        ConfigError: the file is missing, is not YAML, is not a mapping, or holds an unknown key or a wrong value.
    """
    try:
        # safe_load makes only plain values: a config file of another person cannot run code
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the config file {path}: {error.strerror}. Check --config.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2024-99-99 is a ValueError
        reason = " ".join(str(error).split())
        raise ConfigError(f"The config file {path} is not valid YAML: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"The config file {path} must hold keys and values. Received: a {type(content).__name__}")
    try:
        flat = flatten(content, root=root)
        flat |= {key: _from_folder(flat[key], path) for key in FILES if key in flat}
        _build(root, "", flat)  # wrong values are found here already, so that the error can name the file
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return flat


def _from_folder(value: Any, path: Path) -> Any:
    inside = isinstance(value, str) and value.startswith(HERE)
    return str(path.parent / value.removeprefix(HERE)) if inside else value


def parse_assignment(text: str, root: type[Settings] = FitConfig) -> dict[str, Any]:
    """Read one ``--set a.b=value``. The value is read as YAML.

    Raises:
        ConfigError: there is no ``=``, the key is unknown, or the value is not YAML.
    """
    # at the first =, because a value may hold one (lora.rank_pattern=query=16)
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set needs KEY=VALUE, for example training.seed=7. Received: {text!r}")
    try:
        return flatten({key.strip(): yaml.safe_load(value)}, root=root)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {key.strip()}: the value is not valid YAML. Received: {value!r}") from None


def to_dict(group: Settings) -> dict[str, Any]:
    """Return the settings as nested plain values for YAML. Tuples become lists."""
    result: dict[str, Any] = {}
    for spec in dataclasses.fields(typing.cast(Any, group)):
        value = getattr(group, spec.name)
        if isinstance(value, Settings):
            value = to_dict(value)
        # lists, so that the values equal those that YAML and JSON read back
        result[spec.name] = list(value) if isinstance(value, tuple) else value
    return result


def dump_yaml(
    config: FitConfig | PretrainConfig, comments: bool = False, *, only: Collection[str] = (), schema: str | None = None
) -> str:
    """Write a config as YAML.

    Args:
        config: the settings.
        comments: write the help text of each setting as a comment above it.
        only: with comments, the dotted keys to write. Empty writes all.
        schema: with comments, the path of the JSON Schema, which editors read from a comment.
    """
    if not comments:
        # in the order of definition, in which related settings stand together
        return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    helps = {item.path: item.help for item in settings(type(config))}
    command = "fit" if isinstance(config, FitConfig) else "pretrain"
    lines = [] if schema is None else [f"# yaml-language-server: $schema={schema}"]
    lines += [f"# Settings of `kerora {command}`. A setting that is left out keeps its default."]
    _dump_group(to_dict(config), "", lines, {key: text for key, text in helps.items() if not only or key in only})
    return "\n".join(lines) + "\n"


def _dump_group(group: Mapping[str, Any], prefix: str, lines: list[str], helps: Mapping[str, str]) -> None:
    indent = "  " * prefix.count(".")
    for key, value in group.items():
        if isinstance(value, Mapping):
            inner: list[str] = []
            _dump_group(value, f"{prefix}{key}.", inner, helps)
            # a group of which no setting is written is left out
            lines += ["", f"{indent}{key}:", *inner] if inner else []
        elif prefix + key in helps:
            lines += [f"{indent}# {helps[prefix + key]}", f"{indent}{key}: {_on_one_line(value)}"]


def _on_one_line(value: Any) -> str:
    # As the only item of a list: there YAML quotes every value that needs it. A plain value alone would get an
    # end-of-document mark.
    return yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=float("inf")).strip()[1:-1]


def _build(group: type[Settings], prefix: str, flat: Mapping[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for spec in dataclasses.fields(typing.cast(Any, group)):
        kind = type_of(group, spec.name)
        if isinstance(kind, type) and issubclass(kind, Settings):
            values[spec.name] = _build(kind, f"{prefix}{spec.name}.", flat)
        # only given values: the dataclass fills in its own defaults
        elif prefix + spec.name in flat:
            values[spec.name] = flat[prefix + spec.name]
    return group(**values)
