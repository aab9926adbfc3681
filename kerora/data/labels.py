"""The canonical form of labels: the same label is the same name, whatever the format of its file.

A CSV file holds only text, so a label can be ``1``, ``1.0`` or ``True`` there. JSON and Parquet files hold numbers and
booleans. All readers give the labels through `label_of`.
"""

import datetime
import decimal
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

WHOLE_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.0+)?")
"""A whole number without leading zeros. ``01`` is a code, and ``1.10`` can be a version: both stay as they are."""
BOOLEANS = ("true", "false")
# Parentheses need a comma: "(other)" is a name.
LIST_TEXT = re.compile(r"\[(.*)\]|\{(.*)\}|\((.*,.*)\)", re.DOTALL)
# One quoted name, or numbers with spaces between them, as numpy prints an array: [0 1 0].
ITEM = re.compile(r"""\s*(?:'[^']*'|"[^"]*"|[+-]?\d+(?:\.\d*)?)(?:\s+[+-]?\d+(?:\.\d*)?)*\s*|\s*""")
SEPARATORS = ",;|"
# Two numbers or more, separated by spaces: the row of a label matrix.
NUMBERS = re.compile(r"[+-]?\d+(?:\.\d+)?(?: +[+-]?\d+(?:\.\d+)?)+")


def label_of(value: Any) -> str | None:
    """Return the canonical form of a label, or None if a value of this type cannot be a label.

    Whole numbers lose their decimals and their plus sign: ``1.0`` and ``+1`` are ``1``. Booleans are lowercase:
    ``True`` is ``true``. Text has no white space around it. Dates are written as in ISO 8601, and bytes are UTF-8.
    """
    # The integers and booleans of numpy are no subclasses of int, so the tests below would miss them.
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, float | decimal.Decimal):
        # 'f': a decimal such as 1E+2 is written 100, as in a CSV file
        value = repr(value) if isinstance(value, float) else f"{value:f}"
    # Booleans come before integers: in Python a bool is an int.
    if isinstance(value, bool | int | str):
        return _plain(str(value).strip())
    return None


def _plain(text: str) -> str:
    if text.lower() in BOOLEANS:
        return text.lower()
    # Python refuses to convert text of thousands of digits
    return str(int(text.partition(".")[0])) if len(text) < 300 and WHOLE_NUMBER.fullmatch(text) else text


def is_list(value: Any) -> bool:
    """Tell whether a value is a list of labels, or text that looks like one, such as ``[0, 1, 0]`` or ``['a']``."""
    if isinstance(value, list | tuple | set | dict | np.ndarray):
        return True
    found = LIST_TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return False
    inside = next(part for part in found.groups() if part is not None)
    # "[OTHER]" is a name in brackets, and "['OTHER']" is a list
    return "," in inside or ITEM.fullmatch(inside) is not None


def several_labels(labels: Iterable[str]) -> str | None:
    """Return a label that seems to be several labels, such as ``a,b`` among the labels ``a`` and ``b``, or None.

    Each part must occur in another label too, alone or beside others. So ``Food, Drink`` alone is a name. A row of
    numbers, such as ``0 1 0``, is several labels if all labels are such rows.
    """
    labels = list(labels)
    if labels and all(NUMBERS.fullmatch(label) for label in labels):
        return labels[0]
    parts = {label: _parts(label) for label in labels}
    uses = Counter(part for found in parts.values() for part in found)
    return next((label for label in labels if len(parts[label]) > 1 and all(uses[part] > 1 for part in parts[label])),
                None)  # fmt: skip


def _parts(label: str) -> set[str]:
    separator = next((mark for mark in SEPARATORS if mark in label), None)
    return {part.strip() for part in label.split(separator)} - {""} if separator else {label}
