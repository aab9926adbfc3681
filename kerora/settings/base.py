"""Base of the setting groups: fields with a help text, a type and a check. Values are checked on creation.

The other modules of this package define the settings.
"""

import codecs
import contextlib
import csv
import dataclasses
import enum
import functools
import math
import os
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

from kerora.errors import ConfigError

Check = Callable[[Any], str | None]


@dataclasses.dataclass(frozen=True)
class Bounds:
    """A check that a number lies in a range. The JSON Schema of the settings reads the range.

    Attributes:
        low: the lower end.
        high: the upper end, which is not part of the range. None means no upper end.
        open: whether the lower end is not part of the range.
    """

    low: float
    high: float | None = None
    open: bool = False

    def __call__(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        # NaN fails every comparison, so the good case is asked
        if (value > self.low if self.open else value >= self.low) and (self.high is None or value < self.high):
            return None
        if self.high is not None:
            low = f"greater than {self.low}" if self.open else f"at least {self.low}"
            return f"must be {low} and less than {self.high}"
        return f"must be greater than {self.low}" if self.open else f"must be {self.low} or more"


def setting(default: Any, help: str, *, check: Check | None = None, choices: Sequence[str] = ()) -> Any:
    """Define a setting: its default, its help text, its check and its choices.

    The default must be immutable, for example a tuple instead of a list.
    """
    # in the metadata of the field, so that command line, YAML and documentation read the same text
    metadata = {"help": help, "check": check, "choices": choices}
    return field(default=default, metadata=metadata)


def at_least(low: float) -> Bounds:
    """Return a check that a number is `low` or more."""
    return Bounds(low)


def more_than(low: float) -> Bounds:
    """Return a check that a number is greater than `low`."""
    return Bounds(low, open=True)


def between(low: float, high: float) -> Bounds:
    """Return a check that ``low <= value < high``."""
    # half-open, because a dropout rate or a held-out fraction of 1 would leave nothing
    return Bounds(low, high)


def inside(low: float, high: float) -> Bounds:
    """Return a check that ``low < value < high``."""
    return Bounds(low, high, open=True)


def text_encoding(name: str) -> str | None:
    """Check that Python knows a character encoding."""
    try:
        "".encode(name)  # refuses codecs that are not for text, such as base64
        codecs.lookup(name)
    except (LookupError, ValueError):
        return "must be a character encoding, such as utf-8, cp1252, utf-16 or shift_jis"
    return None


class Settings:
    """Base of the setting groups. It checks types and ranges on creation."""

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(typing.cast(Any, self)):
            kind, choices = type_of(type(self), spec.name), spec.metadata.get("choices", ())
            value = _coerce(spec.name, getattr(self, spec.name), kind, choices)
            # not plain assignment, because the groups are frozen
            object.__setattr__(self, spec.name, value)
            _check(spec, value)


def type_of(group: type[Settings], name: str) -> Any:
    """Return the annotation of a field."""
    return _types(typing.cast(Any, group))[name]


@functools.cache
def _types(group: type[Settings]) -> dict[str, Any]:
    # not `__annotations__`: those of a class lack the fields that it inherits
    return typing.get_type_hints(group)


def _check(spec: dataclasses.Field[Any], value: Any) -> None:
    # None means not given, and a field without a help text is a group that has checked itself
    if value is None or "help" not in spec.metadata:
        return
    choices, check = spec.metadata["choices"], spec.metadata["check"]
    # of a list, each name is one of the choices
    wrong = [item for item in (value if isinstance(value, tuple) else (value,)) if choices and item not in choices]
    if wrong:
        raise ConfigError(f"Setting '{spec.name}' must be one of {', '.join(choices)}. Received: {wrong[0]!r}")
    problem = check(value) if check else None
    if problem:
        raise ConfigError(f"Setting '{spec.name}' {problem}. Received: {value!r}")


def _coerce(name: str, value: Any, kind: Any, choices: Sequence[str] = ()) -> Any:
    """Convert a value of YAML or the command line to the type of its field, or raise an error."""
    if typing.get_origin(kind) is types.UnionType:
        if value is None:
            return None
        # settings have the form `X | None`, so one other type is left
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    # isinstance takes tuple, but not tuple[str, ...]
    kind = typing.get_origin(kind) or kind
    value = _plain(value)
    convert = {tuple: _names, float: _number, str: _text}.get(kind)
    coerced = convert(value) if convert else value
    # bool is a subclass of int in Python, but true is no number here
    if isinstance(coerced, kind) and (kind is bool or not isinstance(coerced, bool)):
        return coerced
    remedy = ". Write the table to a file and give its path." if is_table(value) else ""
    wanted = f"one of {', '.join(choices)}" if choices and kind is str else _WANTED.get(kind, kind)
    raise ConfigError(f"Setting '{name}' must be {wanted}. Received: {shown(value)}{remedy}")


def is_table(value: Any) -> bool:
    """Tell whether a value is a table of rows in memory, such as a frame of pandas, Polars or PyArrow."""
    return hasattr(value, "columns") or hasattr(value, "column_names")


def shown(value: Any) -> str:
    """Return a value and its type in one line for a message. A long value, such as a table, is shortened."""
    if value is None:
        return "None (nothing)"
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '...'} ({type(value).__name__})"


def _plain(value: Any) -> Any:
    """Return paths, and numbers, text and one-dimensional arrays of numpy, as plain values of Python.

    A run folder holds the settings as YAML, which has only plain values.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    if isinstance(value, str) and type(value) is not str:
        return str.__str__(value)
    if hasattr(value, "tolist") and len(getattr(value, "shape", ())) == 1:
        return [_plain(part) for part in value.tolist()]
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


_LONGEST_SHOWN = 500
_WANTED = {
    tuple: "a list of names (put quotes around yes, no, on, off, dates and the like)",
    float: "a finite number",
    int: "a whole number",
    bool: "true or false",
    str: "text (put quotes around yes, no, on, off, dates and the like)",
}


def _text(value: Any) -> Any:
    # no booleans: YAML reads yes, on and true as the same value, so the text that was meant is lost
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _names(value: Any) -> Any:
    if isinstance(value, str):
        # Quoted as in CSV, because a name may hold a comma. What is no CSV, such as a single quote, is split plainly.
        with contextlib.suppress(csv.Error):
            fields = next(csv.reader([value], skipinitialspace=True, strict=True), [])
            return tuple(name.strip() for name in fields if name.strip())
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if value is None:
        return ()
    # YAML reads the name of a column such as 3 as a number
    if isinstance(value, int) and not isinstance(value, bool):
        return (_text(value),)
    if not isinstance(value, list | tuple):
        return value
    # YAML reads unquoted numbers in a list of names as numbers
    names = tuple(_text(part) for part in value)
    # None has no accepted type, so `_coerce` raises the error
    return names if all(isinstance(part, str) for part in names) else None


def _number(value: Any) -> Any:
    """Return a float. Text is converted too, because YAML 1.1 reads 1e-3 as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    with contextlib.suppress(ValueError, OverflowError):
        number = float(value)
        # infinity would pass a check such as `more_than`
        return number if math.isfinite(number) else None
    return value
