"""Values of Python, numpy, pandas, torch and TensorFlow as plain values of JSON, in the form that files have."""

import datetime
import decimal
import enum
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerora.data.extract import is_missing

# The missing values of pandas, by the names of their types: pandas need not be installed.
MISSING = ("NAType", "NaTType")


class NotWritableError(Exception):
    """A value is neither text, a number, a date nor a list of these."""


def is_absent(value: Any) -> bool:
    """Tell whether a value is missing: None, NaN, or NA or NaT of pandas."""
    return is_missing(value) or type(value).__name__ in MISSING


def plain_value(value: Any) -> Any:
    """Return a value as JSON has it. None, NaN, NA and NaT are None.

    Dates, times, decimals and UTF-8 bytes become text, as the reader of Parquet files gives them.

    Raises:
        NotWritableError: the value is of another kind.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if is_absent(value):
        return None
    if isinstance(value, str):
        return str.__str__(value)  # numpy.str_ is a subclass of str
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, datetime.datetime | decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, set | frozenset):
        # a set has another order in each process, so that a run could not be repeated
        return sorted(map(plain_value, value), key=str)
    return _of_array(value)


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotWritableError from error


def _of_array(value: Any) -> Any:
    """Return a number or an array of numpy, torch or TensorFlow as a plain value."""
    if isinstance(value, np.datetime64):
        # Nanoseconds would come as an integer.
        return plain_value(value.astype("datetime64[us]").item())
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return plain_value(value.item())
    values = tensor_values(value)
    if values is value:
        raise NotWritableError
    return plain_value(values)


def tensor_values(value: Any) -> Any:
    """Return an array, a tensor or a column of a frame as a list. Return other values unchanged."""
    if hasattr(value, "toarray"):
        value = value.toarray()  # a sparse matrix of scipy
    if getattr(getattr(value, "dtype", None), "kind", "") == "M" and isinstance(value, np.ndarray):
        value = value.astype("datetime64[us]")  # nanoseconds would come as integers
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    # A tensor of TensorFlow gives a number, text or array of numpy.
    return tensor_values(value.numpy()) if hasattr(value, "numpy") else value


def is_column(value: Any) -> bool:
    """Tell whether a value is a sequence of values, and no text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def batch_of(item: Any) -> list[Any] | None:
    """Return the rows of a batch as tf.data or torch's DataLoader makes it, or None if the item is one row.

    A batch is a pair of columns of equal length, or a dict with columns of equal length of which one is an array. A
    dict of lists alone is one record, such as a conversation.
    """
    if isinstance(item, tuple | list) and len(item) == 2:
        columns = [tensor_values(part) for part in item]
        if all(map(is_column, columns)) and len(columns[0]) == len(columns[1]):
            return list(zip(*columns, strict=True))
        return None
    if isinstance(item, Mapping) and item and any(_is_array(value) for value in item.values()):
        found = {key: tensor_values(value) for key, value in item.items()}
        lengths = {len(column) if is_column(column) else -1 for column in found.values()}
        if len(lengths) == 1 and lengths != {-1}:
            return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    return None


def _is_array(value: Any) -> bool:
    return not isinstance(value, str | bytes | list | tuple) and len(getattr(value, "shape", ())) == 1
