"""Recognises texts that are given to a model in place of token ids, and brings texts and labels into one form.

A column of texts is a list or tuple of strings, an array of numpy, or a column of pandas, Polars, PyArrow or Hugging
Face datasets. Pairs of texts are a tuple or a dict of two columns, a table or an array of two columns, or a list of
pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerora.data.labels import label_of
from kerora.data.memory_values import is_absent
from kerora.data.rows import Rows
from kerora.errors import ConfigError, DataError, listed, nearest
from kerora.models.tokenizer import checked_pairs
from kerora.notices import notice
from kerora.settings.base import is_table, shown

ENCODED = "token_ids"
"""Name of the input that all encoded batches have."""
TEXT_KINDS = "OUST"
"""Kinds of numpy arrays that can hold text: objects, str, bytes, and variable-width strings."""


@dataclass(frozen=True)
class RawRows:
    """Texts with their labels and weights.

    Attributes:
        texts: the texts, or the first texts of pairs.
        pairs: the second texts, or None.
        labels: the labels as given, one for each text, or None.
        weights: weight of each row, float32 (rows,), or None.
    """

    texts: Sequence[str]
    pairs: Sequence[str] | None = None
    labels: Any = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, start: int, stop: int) -> "RawRows":
        """Return the rows from `start` to before `stop`."""
        rows = slice(start, stop)
        labels, weights = (None if part is None else part[rows] for part in (self.labels, self.weights))
        return RawRows(self.texts[rows], None if self.pairs is None else self.pairs[rows], labels, weights)


def is_raw(x: Any) -> bool:
    """Tell whether an input of a model holds texts."""
    if isinstance(x, Mapping):
        return ENCODED not in x and any(_is_column(column) for column in x.values())
    # What holds no texts in no order, which `raw_rows` refuses: Keras would say less.
    if isinstance(x, set | frozenset) or (isinstance(x, list) and all(isinstance(item, int | float) for item in x)):
        return True
    return isinstance(x, Rows) or is_table(x) or _is_column(x) or _is_list_of_columns(x)


def raw_rows(x: Any, y: Any = None, weights: Any = None, several: bool = False) -> RawRows:
    """Return texts, labels and weights as rows. `several` is that of `plain_labels`.

    Raises:
        ConfigError: the value holds something other than texts, or the numbers of texts, labels and weights differ.
    """
    if isinstance(x, Rows):
        # A text store is no list, but `Batches` and the tokenizer only read it.
        texts, pairs = list(x.texts), None if x.pairs is None else list(x.pairs)
        y = x.targets if y is None and x.targets is not None else y
    else:
        texts, pairs = text_columns(x)
    if not texts:
        raise ConfigError("There are no texts. Give at least one.")
    labels = None if y is None else plain_labels(y, several)
    shares = None if weights is None else np.asarray(_plain(weights), dtype=np.float32).reshape(-1)
    for name, column in (("labels", labels), ("sample weights", shares)):
        if column is not None and len(column) != len(texts):
            raise ConfigError(f"There are {len(texts)} texts and {len(column)} {name}. Give one for each text.")
    return RawRows(texts, pairs, labels, shares)


def text_columns(x: Any) -> tuple[list[str], list[str] | None]:
    """Return the texts of an input, and the second texts of pairs or None; see the module.

    Raises:
        ConfigError: there are more than two columns, or something other than texts.
    """
    if isinstance(x, set | frozenset):
        raise ConfigError("A set of texts has no order. Give a list.")
    columns = _columns(x)
    names = list(x) if isinstance(x, Mapping) else _names_of(x) if is_table(x) else []
    # `zip` leaves out values without names. An empty column has no kind.
    pairs = [(name, column) for name, column in zip(names, columns, strict=False) if not _is_empty(column)]
    other = [str(name) for name, column in pairs if not _is_column(column)]
    if other:
        raise ConfigError(f"'{other[0]}' holds no texts. Inputs are texts alone: give labels apart, as y.")
    if len(columns) > 2:
        raise ConfigError(f"Texts come in one column, or two for pairs. Received: {len(columns)} columns. Name them.")
    return checked_pairs(*map(_plain, columns), *[None] * (2 - len(columns)))


def class_numbers(labels: np.ndarray, classes: Sequence[str], values: Sequence[str] = ()) -> np.ndarray:
    """Return the class number of each label, int64 (rows,). Targets of two axes, such as one-hot rows, are returned.

    Args:
        labels: class numbers, or names of classes; see `plain_labels`.
        classes: the class names.
        values: the labels of the classes in the training data, if they had others; see `TextClassifier.label_values`.

    Raises:
        DataError: a name is unknown, a number is out of range, or a label is missing.
    """
    if labels.ndim > 1 and labels.shape[1] != 1:
        return labels
    labels = labels.reshape(-1)
    if labels.dtype.kind == "O" and all(type(label) is int or isinstance(label, np.integer) for label in labels):
        labels = labels.astype(np.int64)  # A column of a frame can hold whole numbers as objects.
    if labels.dtype.kind == "b" and {"true", "false"} <= {str(label_of(name)) for name in classes}:
        labels = labels.astype(object)
    if labels.dtype.kind in TEXT_KINDS:
        return _numbers_by_name(labels, classes, values)
    numbers = labels.astype(np.int64)
    wrong = np.flatnonzero((numbers != labels) | (numbers < 0) | (numbers >= len(classes)))
    if wrong.size:
        raise DataError(
            f"Label {labels[wrong[0]]} at position {wrong[0]} is no class number: there are {len(classes)} classes, 0 "
            f"to {len(classes) - 1}. Give numbers in this range, or class names as text ({listed(classes)})."
        )
    _note_numbers(numbers, classes)
    return numbers


def plain_labels(y: Any, several: bool = False) -> np.ndarray:
    """Return labels as an array: numbers, or an array of objects if they are names.

    Args:
        y: the labels.
        several: whether a row can have several. Lists of labels then become an array of objects (rows,), and a table of
            several columns an array (rows, columns).
    """
    y = _plain(y)
    if is_table(y):
        columns = _columns(y)
        if len(columns) != 1 and several:
            # a matrix with a column for each label
            return np.stack([np.asarray(_plain(column)) for column in columns], axis=1)
        if len(columns) != 1:
            raise ConfigError(f"Labels come in one column. Received: a table of {len(columns)} columns. Name one.")
        y = _plain(columns[0])
    if hasattr(y, "toarray"):
        y = y.toarray()  # a sparse matrix of scipy
    if several and are_lists(y):
        labels = np.empty(len(y), dtype=object)
        labels[:] = list(y)
        return labels
    try:
        return np.asarray([y] if isinstance(y, str) else y)
    except ValueError as error:
        raise ConfigError(f"Labels must be one column of class numbers or names. Received: {shown(y)}") from error


def are_lists(y: Any) -> bool:
    """Tell whether labels are lists of labels, and no matrix."""
    y = _plain(y)
    if isinstance(y, np.ndarray) and y.dtype != object:
        return False
    lists = list | tuple | set | frozenset | np.ndarray
    return not is_table(y) and hasattr(y, "__iter__") and any(isinstance(row, lists) for row in y)


def are_names(y: Any) -> bool:
    """Tell whether labels are names of classes."""
    return _is_column(y)


def _numbers_by_name(labels: np.ndarray, classes: Sequence[str], values: Sequence[str]) -> np.ndarray:
    by_name = _lookup(classes)
    by_value = _lookup(values)
    names = [None if value is None else label_of(value) for value in labels]
    # First what is missing: beside it, numpy keeps whole numbers as objects, which are no names.
    wrong = [number for number, name in enumerate(names) if name is None]
    wrong += [number for number, name in enumerate(names) if name not in by_name and name not in by_value]
    if wrong:
        name, label = names[wrong[0]], _shown(labels[wrong[0]])
        what = "is missing" if name is None else "is no class"
        hint = nearest(str(name), classes)
        raise DataError(f"Label {label} at position {wrong[0]} {what}. The classes are {listed(classes)}.{hint}")
    # All labels have one reading: the names first, as `kerora predict` writes them.
    known = by_name if all(name in by_name for name in names) else by_value
    strange = next((name for name in names if name not in known), None)
    if strange is not None:
        raise DataError(
            f"Label {strange!r:.60} is a class name, but other labels are those of the training data. Use one kind: "
            f"{listed(classes)}, or {listed(values)}."
        )
    return np.array([known[str(name)] for name in names], np.int64)


def _lookup(names: Sequence[str]) -> dict[str, int]:
    found = {str(label_of(name)): number for number, name in enumerate(names)}
    # Names that differ only in their form, such as 1 and 1.0, are looked up as they are.
    return found if len(found) == len(names) else {name: number for number, name in enumerate(names)}


def _note_numbers(numbers: np.ndarray, classes: Sequence[str]) -> None:
    named = {name: number for number, name in enumerate(classes)}
    present = [str(number) for number in np.unique(numbers)]
    if all(name in named for name in present) and any(named[name] != int(name) for name in present):
        notice(f"Labels that are numbers are class numbers: 0 is the class '{classes[0]}'. Give text for class names.")


def _columns(x: Any) -> list[Any]:
    if isinstance(x, Mapping):
        return list(x.values())
    if is_table(x):
        return [x[name] for name in _names_of(x)]
    if isinstance(x, np.ndarray) and x.ndim > 1:
        return list(x.reshape(len(x), -1).T)
    if isinstance(x, tuple) and len(x) == 2 and not isinstance(x[0], str | bytes):
        return list(x)
    if _is_list_of_columns(x):
        if any(len(row) != 2 for row in x):
            raise ConfigError(f"A list of lists must hold pairs of texts. Received: {shown(x[0])}.")
        if len(x) == 2 and not isinstance(x[0], tuple):
            raise ConfigError(
                "A list of two lists can be two columns or two rows. Give a tuple of two columns, or a list of tuples."
            )
        return [[row[0] for row in x], [row[1] for row in x]]
    return [x]


def _names_of(table: Any) -> list[Any]:
    return list(table.column_names if hasattr(table, "column_names") else table.columns)


def _is_empty(column: Any) -> bool:
    return hasattr(column, "__len__") and len(column) == 0


def _is_column(x: Any) -> bool:
    if isinstance(x, str | bytes | np.str_):
        return True
    kind = getattr(getattr(x, "dtype", None), "kind", None)
    if isinstance(x, np.ndarray):
        return str(kind) in TEXT_KINDS
    if hasattr(x, "to_pylist"):
        x = x.to_pylist()
    if _is_tensorflow(x):
        return str(getattr(getattr(x, "dtype", None), "name", "")) == "string"
    # Only containers of known length: a look at a generator would take its first value.
    if not hasattr(x, "__len__") or not hasattr(x, "__iter__") or not hasattr(x, "__getitem__"):
        return False
    if (hasattr(x, "shape") and not hasattr(x, "to_numpy")) or isinstance(x, Mapping):
        return False
    first = next((value for value in x if not is_absent(value)), None)
    return isinstance(first, str | bytes)


def _is_list_of_columns(x: Any) -> bool:
    return isinstance(x, list | tuple) and len(x) > 0 and not isinstance(x[0], str | bytes) and _is_column(x[0])


def _is_tensorflow(x: Any) -> bool:
    # By name, because TensorFlow may be missing and must not be imported.
    return type(x).__module__.partition(".")[0] == "tensorflow"


def _plain(values: Any) -> Any:
    """Return tensors and columns as values that numpy reads."""
    if hasattr(values, "to_pylist"):
        return values.to_pylist()
    if hasattr(values, "detach"):
        return values.detach().cpu().numpy()
    return values.numpy() if _is_tensorflow(values) else values


def _shown(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)[:60]
