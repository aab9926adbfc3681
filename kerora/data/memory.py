"""Rows that a script holds in memory: frames, columns, records, texts with labels, data sets of other libraries.

All of them become JSON Lines or Parquet files, so that the readers of files check them by the same rules.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw

from kerora.data.memory_values import NotWritableError, batch_of, is_absent, is_column, plain_value, tensor_values
from kerora.data.split_names import SPLIT_NAMES
from kerora.errors import DataError
from kerora.notices import notice
from kerora.runfolder import atomic_file
from kerora.settings.base import shown
from kerora.settings.fit import DataConfig

FORMS = (
    "a frame of pandas, polars or pyarrow, a dict of columns, a list of records, (texts, labels), a data set of "
    "Hugging Face, TensorFlow or torch, or the path of a file"
)
PAIR = ("sentence1", "sentence2")
"""Names of the columns of pairs that have no names. Readers of files know them."""
Row = dict[str, Any]
# Of other libraries, recognised by the names of their modules: an import of them would take seconds.
HUGGING_FACE = "datasets"


def is_in_memory(value: Any) -> bool:
    """Tell whether a value is something other than a path or a name."""
    return value is not None and not isinstance(value, str | os.PathLike)


def described(value: Any) -> str:
    """Return the kind of a value for messages: ``pandas DataFrame``, ``list``."""
    root = type(value).__module__.partition(".")[0]
    return type(value).__name__ if root in ("builtins", "__main__") else f"{root} {type(value).__name__}"


def parts_in_memory(value: Any) -> dict[str, Any] | None:
    """Return the parts of a mapping whose keys name parts, such as a `DatasetDict`, or None for any other value.

    Raises:
        DataError: two keys name the same part.
    """
    if not isinstance(value, Mapping):
        return None
    others = [str(key) for key in value if str(key).lower() not in SPLIT_NAMES]
    # {"text": [...], "test": [...]} is a table with a column "test".
    if len(others) == len(value) or (others and any(map(_is_one_column, value.values()))):
        return None
    if others:
        notice(f"The parts {', '.join(others)} of the data are not read. Give one with train=, validation= or test=.")
    found: dict[str, Any] = {}
    for key, part in value.items():
        split = SPLIT_NAMES.get(str(key).lower())
        if split in found:
            raise DataError(f"Two keys name the {split} part: {', '.join(map(str, value))}. Leave one of them out.")
        if split is not None:
            found[split] = part
    return found


def _is_one_column(value: Any) -> bool:
    one = isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 1 or hasattr(value, "to_list")
    # a data set of Hugging Face has `to_list` too
    return one and not hasattr(value, "column_names")


def write_part(value: Any, folder: Path, split: str, config: DataConfig) -> Path:
    """Write the rows of a value as a file, and return its path.

    A data set of Hugging Face becomes Parquet, which keeps the names and the order of its classes. All other values
    become JSON Lines. The index of a frame is not written. A missing value (None, NaN, NA, NaT) is null.

    Args:
        value: the rows.
        folder: folder of the file.
        split: the part: name of the file, and of the value in messages.
        config: names of the columns of texts and labels that have no names, such as ``(texts, labels)``.

    Raises:
        DataError: the value has none of the known forms, has no rows, or has two columns of one name.
    """
    name = f"{split} ({described(value)})"
    if parts := parts_in_memory(value):
        raise DataError(f"{name} holds the parts {', '.join(parts)}. Give one of them, or to a fit all with data=.")
    if _is_dataset(value) and getattr(value, "features", None):
        return _write_parquet(value, folder / f"{split}.parquet", name)
    path = folder / f"{split}.jsonl"
    left_out: dict[str, Any] = {}
    count = 0
    with atomic_file(path) as stream:
        for count, row in enumerate(rows_in_memory(value, name, config), 1):  # noqa: B007
            stream.write(_line(row, left_out))
    if not count:
        raise DataError(f"{name} has no rows. Give a table with rows.")
    _tell_left_out(left_out, name, config)
    return path


def rows_in_memory(value: Any, name: str, config: DataConfig) -> Iterator[Row]:
    """Yield the rows of a value; see `write_part`.

    Raises:
        DataError: the value has none of the known forms.
    """
    text = config.text[0] if len(config.text) == 1 else "text"
    label = config.label[0] if config.label else "label"
    if isinstance(value, Mapping):
        return _columns(value, name)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        first = value[0] if len(value) == 2 else None
        if isinstance(first, tuple) and len(first) == 2 and all(is_column(tensor_values(part)) for part in first):
            names = config.text if len(config.text) == 2 else PAIR
            return _columns({names[0]: first[0], names[1]: first[1], label: value[1]}, name)
        return _texts_and_labels(value, name, text, label)
    _check_names(value, name)
    found = nw.from_native(value, pass_through=True, allow_series=True)
    if isinstance(found, nw.LazyFrame):
        found = found.collect()
    if isinstance(found, nw.DataFrame):
        columns = list(map(str, found.columns))
        return (dict(zip(columns, row, strict=True)) for row in found.iter_rows())
    if isinstance(found, nw.Series):
        return ({text: item} for item in found.to_list())
    return _items(_iterated(value, name), name, text, label)


def _is_dataset(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == HUGGING_FACE


def _check_names(value: Any, name: str) -> None:
    # Before narwhals, which refuses such a frame in words of its own. Lazy frames have no two columns of one name, and
    # polars warns if they are asked for the names.
    if hasattr(value, "collect"):
        return
    columns = getattr(value, "column_names", None) or getattr(value, "columns", None)
    columns = list(columns) if isinstance(columns, Iterable) else []
    deep = next((column for column in columns if isinstance(column, tuple)), None)
    if deep is not None:
        raise DataError(f"{name} has columns of several levels, such as {deep!r:.60}. Give each column one name.")
    names = list(map(str, columns))
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has two columns named '{twice:.40}'. Rename one of them, or leave it out.")


def _columns(value: Mapping[Any, Any], name: str) -> Iterator[Row]:
    columns = {str(key): tensor_values(column) for key, column in value.items()}
    if len(columns) < len(value):
        raise DataError(f"{name} has two columns of one name: {', '.join(map(repr, value))}. Rename one of them.")
    wrong = next((key for key, column in columns.items() if not is_column(column)), None)
    if wrong is not None:
        raise DataError(
            f"{name}: the value of '{wrong:.40}' must be a list of values, one for each row. "
            f"Received: {shown(value.get(wrong))}. Write one record as [{{...}}]."
        )
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{name}: the columns have different lengths: {lengths}. Make them equal.")
    return (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _texts_and_labels(value: Sequence[Any], name: str, text: str, label: str) -> Iterator[Row]:
    parts = [tensor_values(part) for part in value]
    if len(parts) != 2 or not all(is_column(part) for part in parts):
        raise DataError(
            f"{name}: a tuple must be (texts, labels), two lists. Received: {len(parts)} values of the types "
            f"{', '.join(type(part).__name__ for part in value)}. Sentence pairs are ((firsts, seconds), labels), and "
            "further columns go into a dict of columns."
        )
    texts, labels = parts
    if len(texts) != len(labels):
        raise DataError(f"{name}: there are {len(texts):,} texts, but {len(labels):,} labels. Make them equal.")
    return ({text: first, label: second} for first, second in zip(texts, labels, strict=True))


def _iterated(value: Any, name: str) -> Iterator[Any]:
    if hasattr(value, "as_numpy_iterator"):  # tf.data
        return iter(value.as_numpy_iterator())
    if getattr(value, "ndim", 1) != 1:
        raise DataError(f"{name}: an array must have one dimension, the texts. Give (texts, labels), or a frame.")
    if hasattr(value, "to_pylist"):  # an array or a batch of pyarrow
        return iter(value.to_pylist())
    if isinstance(value, set | frozenset | bytes):
        # a set has another order in each process, so that a run could not be repeated
        raise DataError(f"{name} must be {FORMS}. Received: {shown(value)}")
    if hasattr(value, "__iter__"):
        return iter(value)
    if hasattr(value, "__getitem__") and hasattr(value, "__len__"):  # a torch Dataset has no __iter__
        return (value[place] for place in range(len(value)))
    raise DataError(f"{name} must be {FORMS}. Received: {shown(value)}")


def _items(items: Iterator[Any], name: str, text: str, label: str) -> Iterator[Row]:
    """Yield the rows of items: records, texts, pairs ``(text, label)``, or batches of records or pairs."""
    for number, item in enumerate(items, 1):
        batch = batch_of(item)
        for part in [item] if batch is None else batch:
            if hasattr(part, "_asdict"):
                part = part._asdict()
            if isinstance(part, Mapping):
                yield {str(key): value for key, value in part.items()}
            elif isinstance(part, str | bytes) or is_absent(part):
                yield {text: part}
            elif isinstance(part, tuple) and len(part) == 2:
                yield dict(zip((text, label), part, strict=True))
            else:
                raise DataError(
                    f"{name}, item {number}: expected a record (a dict), a text, or a pair (text, label). "
                    f"Received: {shown(part)}. For two lists write (texts, labels)."
                )


def _line(row: Row, left_out: dict[str, Any]) -> str:
    values = {}
    for key, value in row.items():
        try:
            values[key] = plain_value(value)
        except NotWritableError:
            left_out.setdefault(key, value)
    line = json.dumps(values, ensure_ascii=False) + "\n"
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair. The reader refuses the row by its number if it is in a text.
        return json.dumps(values) + "\n"
    return line


def _tell_left_out(left_out: Mapping[str, Any], name: str, config: DataConfig) -> None:
    if not left_out:
        return
    listed = ", ".join(f"'{key:.40}' ({described(value)})" for key, value in left_out.items())
    problem = f"{name}: values of {listed} are neither text, numbers, dates nor lists of these"
    if any(key in (*config.text, *config.label, config.id) for key in left_out):
        raise DataError(f"{problem}. Convert them, or name another column.")
    notice(f"{problem}. They are left out.")


def _write_parquet(value: Any, path: Path, name: str) -> Path:
    import pyarrow.parquet

    schema = value.features.arrow_schema
    count = 0
    with atomic_file(path, "wb") as stream, pyarrow.parquet.ParquetWriter(stream, schema) as writer:
        for table in value.with_format("arrow").iter(batch_size=1000):
            writer.write_table(table.cast(schema))
            count += len(table)
    if not count:
        raise DataError(f"{name} has no rows. Give a data set with rows.")
    return path
