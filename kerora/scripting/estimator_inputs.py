"""The texts and labels that an estimator takes, checked as scikit-learn checks them: faults are a `ValueError`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from kerora.data.labels import label_of
from kerora.data.memory import PAIR
from kerora.data.memory_values import is_absent, is_column, tensor_values
from kerora.errors import ConfigError, DataError
from kerora.models.tokenizer import checked_texts
from kerora.settings.base import shown


class InputError(DataError, ValueError):
    """Texts or labels that an estimator cannot use."""


@dataclass(frozen=True)
class Texts:
    """Checked texts.

    Attributes:
        first: the texts, or the first texts of pairs.
        second: the second texts of pairs, or None.
        width: number of columns; None for a list of texts.
        names: names of the columns of a frame, or None.
    """

    first: list[str]
    second: list[str] | None = None
    width: int | None = None
    names: tuple[str, ...] | None = None

    def columns(self) -> dict[str, list[str]]:
        """Return the texts as columns of a table."""
        return {"text": self.first} if self.second is None else dict(zip(PAIR, (self.first, self.second), strict=True))


def texts_of(X: Any) -> Texts:
    """Return the texts of a list, an array, a column, or a frame with one or two columns.

    Raises:
        InputError: the value has another form or holds something other than text.
    """
    if isinstance(X, str | bytes):
        raise InputError(f"X must be a list of texts. Received one text: {shown(X)}. Write [text].")
    if hasattr(X, "toarray"):
        raise InputError(f"X must be texts. Received: sparse data ({type(X).__name__}). Leave out the vectorizer.")
    frame = nw.from_native(X, pass_through=True, allow_series=True)
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, nw.DataFrame):
        plain = [name for name in frame.columns if isinstance(name, str)]
        names = tuple(plain) if len(plain) == len(frame.columns) else None
        return _of_rows([list(row) for row in frame.iter_rows()], len(frame.columns), names)
    if isinstance(X, tuple) and len(X) == 2 and all(is_column(tensor_values(part)) for part in X):
        raise InputError("X is a tuple of two columns, which could be two rows too. Write list(zip(*X)) or a frame.")
    values = tensor_values(X)
    if not is_column(values) and not isinstance(values, list):
        raise InputError(f"X must be a list of texts, an array or a frame. Received: {shown(X)}")
    rows = [tensor_values(value) for value in values]
    if rows and all(is_column(row) for row in rows):
        widths = {len(row) for row in rows}
        if len(widths) > 1:
            raise InputError(
                f"X has rows of different lengths: {sorted(widths)}. Give one text, or pairs, in each row."
            )
        return _of_rows(rows, widths.pop(), None)
    return Texts(_checked(rows))


def _of_rows(rows: Sequence[Sequence[Any]], width: int, names: tuple[str, ...] | None) -> Texts:
    if width not in (1, 2):
        raise InputError(
            f"X has {width} columns. A classifier reads one column of texts, or two columns of pairs. Select them."
        )
    columns = [_checked([row[place] for row in rows]) for place in range(width)]
    return Texts(columns[0], columns[1] if width == 2 else None, width, names)


def _checked(values: Sequence[Any]) -> list[str]:
    if not values:
        raise InputError("X has 0 samples. Give at least one text.")
    try:
        return list(map(str, checked_texts(values, "X")))
    except ConfigError as error:
        raise InputError(str(error)) from error


def labels_of(y: Any, rows: int) -> tuple[np.ndarray, dict[Any, str]]:
    """Return the labels (rows,) in their own type, and the name of each class in the order of the classes.

    Raises:
        InputError: a label is missing, has no name, or two labels have one name; or the numbers of rows differ.
        ValueError: the labels have another form, such as several columns or fractions.
    """
    if y is None:
        raise InputError("fit requires y to be passed, but the target y is None.")
    # As a list first: numpy would make text of all values if one of them is text.
    values = tensor_values(y)
    values = list(values) if is_column(values) else values
    if isinstance(values, list):
        _check_labels(values)
    labels = column_or_1d(np.asarray(y if hasattr(y, "dtype") or hasattr(y, "__array__") else values), warn=True)
    if len(labels) != rows:
        raise InputError(f"Found input variables with inconsistent numbers of samples: {[rows, len(labels)]}")
    check_classification_targets(labels)
    classes = np.unique(labels)
    names = {value: label_of(value) for value in classes}
    unnamed = next((value for value, name in names.items() if not name), None)
    if unnamed is not None:
        raise InputError(f"y: a label must be text, a number, a date or true/false. Received: {shown(unnamed)}")
    if len(set(names.values())) < len(names):
        twice = next(value for value in names if list(names.values()).count(names[value]) > 1)
        raise InputError(f"y: two labels have the name {names[twice]!r:.60}, such as {twice!r:.60}. Make them equal.")
    if len(classes) < 2:
        raise InputError(f"The number of classes has to be greater than one. Received 1 class: {shown(classes[0])}")
    return labels, {value: str(name) for value, name in names.items()}


def _check_labels(values: Sequence[Any]) -> None:
    for number, value in enumerate(values):
        if isinstance(value, list | tuple | set | dict) and len(value) != 1:
            raise InputError(f"y: row {number} holds several values: {shown(value)}. Give one label for each text.")
        if is_absent(value):
            raise InputError(f"y contains NaN or None: row {number} has no label. Leave out rows without labels.")
    if len({isinstance(value, str) for value in values}) > 1:
        raise InputError("y holds both text and other values. Give labels of one type.")
