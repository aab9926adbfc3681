"""What a call names: settings by the names of their options, and rows in files or in memory."""

import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from kerora.data.memory import described, is_in_memory, parts_in_memory, write_part
from kerora.data.memory_values import is_column, tensor_values
from kerora.errors import ConfigError
from kerora.notices import naming
from kerora.settings.base import shown
from kerora.settings.fit import SPLITS, DataConfig, FitConfig
from kerora.settings.flat import from_flat
from kerora.settings.resolve import Setting, flatten, load_yaml, resolve, settings, to_dict

YAML = (".yaml", ".yml")
SOURCE, TEXT = "data.source", "data.text"
OTHERS = ("data", *SPLITS, "callbacks", "force", "progress", "resume")
"""The names that `kerora.fit` accepts beside the settings."""


@dataclass(frozen=True)
class Request:
    """The settings of a call, and the parts that it gave in memory.

    Attributes:
        config: the settings, without the parts in memory.
        parts: rows in memory by split.
    """

    config: FitConfig
    parts: Mapping[str, Any] = field(default_factory=dict)


def read_request(
    config: Any,
    rows: Mapping[str, Any],
    flat: Mapping[str, Any],
    call: str = "kerora.fit",
    others: Collection[str] = OTHERS,
) -> Request:
    """Return the settings and the rows of a call. Names override `config`.

    Args:
        config: a `FitConfig`, a mapping of settings, the path of a YAML file, or the rows as `data` takes them.
        rows: the arguments ``data``, ``train``, ``validation`` and ``test``.
        flat: settings by the names of their options.
        call: the call, for messages.
        others: the names that the call accepts beside the settings, for messages.

    Raises:
        ConfigError: a name is unknown, a value is wrong, or two arguments give the same rows.
        DataError: rows in memory have no known form.
    """
    rows = {name: value for name, value in rows.items() if value is not None}
    layer, config = _layer(config, call)
    if config is not None:
        if "data" in rows:
            raise ConfigError(f"{call}: the first argument and data= both give rows. Leave one of them out.")
        rows["data"] = config
    given = from_flat(flat, others=others, call=call)
    paths = {SOURCE if name == "data" else f"data.{name}": value for name, value in rows.items()}
    twice = next((path for path in paths if path in given), None)
    if twice is not None:
        raise ConfigError(f"{call}: '{twice}' is given twice. Leave one of the two out.")
    if isinstance(given.get(TEXT), int) and not isinstance(given[TEXT], bool):
        given[TEXT] = str(given[TEXT])  # a frame without names of columns numbers them
    merged = {**layer, **given, **paths}
    parts, files = _divided(merged, call)
    return Request(resolve(files), parts)


def _layer(config: Any, call: str) -> tuple[dict[str, Any], Any]:
    """Return the settings of the first argument by dotted path, and the rows if it holds these instead."""
    if config is None:
        return {}, None
    if isinstance(config, FitConfig):
        return flatten(to_dict(config)), None
    if isinstance(config, Mapping):
        # a setting such as epochs=2 beside them makes them settings, as do paths
        tables = all(is_in_memory(part) and not isinstance(part, int | float) for part in config.values())
        if tables and parts_in_memory(config):
            return {}, config
        if are_columns(config):
            names = ", ".join(f"'{key!s:.40}'" for key in list(config)[:5])
            raise ConfigError(f"{call}: the first dict holds settings. Give the columns {names} with train= or data=.")
        return from_flat({str(key): value for key, value in config.items()}, call=call), None
    if isinstance(config, str | os.PathLike) and str(config).lower().endswith(YAML):
        return load_yaml(Path(config)), None
    return {}, config


def are_columns(value: Mapping[Any, Any]) -> bool:
    """Tell whether a dict holds columns, and not settings."""
    if not value or not all(is_column(tensor_values(item)) for item in value.values()):
        return False
    # Some settings are lists too, such as the targets of LoRA.
    lists = {name for item in settings() if get_origin(item.type) is tuple for name in _names_of(item)}
    return not all(key in lists for key in value)


def _names_of(item: Setting) -> tuple[str, str]:
    return item.path, item.path.rpartition(".")[2]


def _divided(given: Mapping[str, Any], call: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parts in memory by split, and the settings without them."""
    files = dict(given)
    parts: dict[str, Any] = {}
    if is_in_memory(files.get(SOURCE)):
        source = files.pop(SOURCE)
        parts = parts_in_memory(source) or {"train": source}
    for split in SPLITS:
        path = f"data.{split}"
        if not is_in_memory(files.get(path)):
            continue
        if split in parts:
            raise ConfigError(f"{call}: data and {split} both give the {split} rows. Leave one of them out.")
        parts[split] = _one_part(files.pop(path), split, call)
    return parts, files


def _one_part(value: Any, split: str, call: str) -> Any:
    if isinstance(value, int | float):
        remedy = f" A fraction is {split}_split={value}." if split != "train" else ""
        raise ConfigError(f"{call}: {split} must be rows. Received: {shown(value)}.{remedy}")
    return value


@dataclass(frozen=True)
class Staged:
    """Settings that name the files of all rows.

    Attributes:
        config: the settings.
        files: the files that were written for the rows in memory.
    """

    config: FitConfig
    files: Collection[Path] = ()


@contextlib.contextmanager
def staged(request: Request) -> Iterator[Staged]:
    """Write the rows in memory into a temporary folder for the time of the block.

    Messages name the argument, such as ``train (pandas DataFrame)``, and not the temporary file.

    Raises:
        DataError: rows in memory have no known form.
    """
    if not request.parts:
        yield Staged(request.config)
        return
    config = request.config
    with tempfile.TemporaryDirectory(prefix="kerora-") as folder:
        # The name of the folder is the name of the data set in run.json and in names of runs.
        place = Path(folder) / "data"
        files = {split: write_part(part, place, split, config.data) for split, part in request.parts.items()}
        names = {str(path): f"{split} ({described(request.parts[split])})" for split, path in files.items()}
        paths: dict[str, Any] = {split: str(path) for split, path in files.items()}
        with naming(lambda text: by_argument(text, names)):
            data = dataclasses.replace(config.data, **paths)
            yield Staged(dataclasses.replace(config, data=data), tuple(files.values()))


# Rows in memory have numbers, but no lines and no header line.
_OF_FILES = re.compile(r" \(line \d+\)|, or give (?:--columns|columns=) when the file has no header line")


def by_argument(text: str, names: Mapping[str, str]) -> str:
    """Return a message with the names of the arguments in place of the paths of their files."""
    if not any(path in text for path in names):
        return text
    for path, name in names.items():
        text = text.replace(path, name)
    return _OF_FILES.sub("", text)


def data_request(config: Any, rows: Mapping[str, Any], flat: Mapping[str, Any], call: str) -> Request:
    """Return the settings of data and the rows of a call; see `read_request`.

    Args:
        config: a `DataConfig`, a mapping of its keys, or the rows.
        rows: the arguments ``data``, ``train``, ``validation`` and ``test``.
        flat: settings by the names of their options.
        call: the call, for messages.
    """
    if isinstance(config, DataConfig):
        config = {"data": to_dict(config)}
    elif isinstance(config, Mapping) and parts_in_memory(config) is None and not are_columns(config):
        config = {"data": {str(key).removeprefix("data."): value for key, value in config.items()}}
    elif config is not None:
        rows, config = {**rows, "data": config}, None
    wrong = [path for path in from_flat(flat, others=OTHERS, call=call) if not path.startswith("data.")]
    if wrong:
        raise ConfigError(f"{call} takes settings of the data alone. Leave out: {', '.join(wrong)}.")
    return read_request(config, rows, flat, call)
