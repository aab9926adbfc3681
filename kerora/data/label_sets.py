"""What a value of a label column says about the labels of a row that can have several.

The forms: a list, the text of a list (of JSON or Python), text with a separator, the words of fastText, and several
columns of 0 and 1.
"""

import ast
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerora.data.extract import is_missing
from kerora.data.labels import is_list, label_of

ZERO_ONE = {"0": False, "1": True, "false": False, "true": True}
"""The values of a column of 0 and 1, in the form of `label_of`: 0.0, 1.0, False and True are among them."""
# longer texts are no lists of labels, and reading them as Python takes long
_LONGEST = 100_000


def is_set(value: Any) -> bool:
    """Tell whether a value is a list of labels, or the text of one. An object of JSON is none."""
    if isinstance(value, str):
        # the quick test first: most labels are plain text
        if value.lstrip()[:1] not in ("[", "(", "{"):
            return False
        found = _read(value)
        # what cannot be read can still look like a list, such as [0 1 0]: then it is an error, and no name
        return isinstance(found, list | tuple | set) or (found is None and is_list(value))
    return isinstance(value, list | tuple | set | frozenset | np.ndarray)


def items_of(value: Any) -> list[Any] | None:
    """Return the items of a list, or of the text of a list; None if the text cannot be read."""
    found = _read(value) if isinstance(value, str) else value
    if isinstance(found, np.ndarray):
        found = found.tolist()
    return list(found) if isinstance(found, list | tuple | set | frozenset) else None


def set_problem(value: Any, column: str, separator: str | None) -> str | None:
    """Return what is wrong with the labels in a value, or None.

    Args:
        value: the value of the label column.
        column: name of the column, for the message.
        separator: text between labels, or None.
    """
    if isinstance(value, tuple):
        return None  # words of fastText
    if is_missing(value) or (isinstance(value, str) and not value.strip() and separator is None):
        return f"has no value in '{column}' (no labels are written [])"
    if is_set(value):
        return _list_problem(value, column, separator)
    if isinstance(value, str) and separator is not None and value.strip():
        if not all(part.strip() for part in value.split(separator)):
            return f"has an empty label between separators in '{column}': {value!r:.40}"
    elif isinstance(value, Mapping) or (label_of(value) is None and not isinstance(value, str)):
        return f"has a label that is neither text, number nor date in '{column}': {value!r:.40}"
    return None


def _list_problem(value: Any, column: str, separator: str | None) -> str | None:
    items = items_of(value)
    if items is None:
        return f'has a list that cannot be read in \'{column}\'; write ["a", "b"]: {value!r:.40}'
    wrong = next((item for item in items if is_missing(item) or not label_of(item)), None)
    if wrong is not None or any(item is None for item in items):
        return f"has a list with something other than names in '{column}': {value!s:.40}"
    inner = next((item for item in items if separator is not None and separator in str(item)), None)
    if inner is not None:
        return f"has the separator {separator!r} within a name of a list in '{column}': {inner!r:.40}"
    return None


def labels_in(value: Any, separator: str | None) -> list[Any]:
    """Return the labels of a value that `set_problem` accepts, as they stand there. Repeated ones are kept."""
    if is_set(value):
        return items_of(value) or []
    if isinstance(value, str) and separator is not None:
        return value.split(separator) if value.strip() else []
    return [value]


def column_problem(values: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    """Return what is wrong with the values of several columns of 0 and 1, or None."""
    for column in columns:
        value = values.get(column)
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            return f"has no value in '{column}' (a column of 0 and 1)"
        if label_of(value) not in ZERO_ONE:
            return f"has a value other than 0 and 1 in '{column}': {value!r:.40}"
    return None


def columns_in(values: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Return the columns whose value is 1 or true."""
    return [column for column in columns if ZERO_ONE[str(label_of(values[column]))]]


def _read(text: str) -> Any:
    """Return the value of a text of JSON, or of literals of Python; None if it is neither."""
    if len(text) > _LONGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            # Python warns of unknown escapes such as \d
            warnings.simplefilter("ignore")
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
