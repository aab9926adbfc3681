"""Parquet and Arrow files. pyarrow is imported only when such a file is opened, because it needs memory."""

import datetime
import decimal
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerora.data.jsonfiles import dotted
from kerora.data.table import RawRow, Table
from kerora.errors import DataError

# The first bytes of a file: see the specifications of Parquet and of Arrow's IPC file format.
PARQUET_FILE, ARROW_FILE = b"PAR1", b"ARROW1"


@contextmanager
def open_parquet(path: Path, batch_rows: int = 4096) -> Iterator[Table]:
    """Open a Parquet file. Rows are read in batches, so that files of any size can be streamed.

    Class names that Hugging Face `datasets` stored in the metadata of the file are kept.

    Raises:
        DataError: the file is empty, damaged, or not Parquet (also while reading).
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, "Parquet", error) from error
    with file:
        if not file.metadata.num_rows:
            raise DataError(f"{path} is empty. Give a file with rows.")
        yield _table(path, "Parquet", file.schema_arrow, file.iter_batches(batch_size=batch_rows))


@contextmanager
def open_arrow(path: Path) -> Iterator[Table]:
    """Open an Arrow file or stream, such as `save_to_disk` of Hugging Face `datasets` writes.

    Raises:
        DataError: the file is damaged or not Arrow (also while reading).
    """
    import pyarrow

    try:
        # Mapped and not read: `save_to_disk` does not compress, so the rows need no copy in memory.
        source = pyarrow.memory_map(str(path))
        schema, batches = _batches(source)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, "Arrow", error) from error
    with source:
        yield _table(path, "Arrow", schema, batches)


def _batches(source: Any) -> tuple[Any, Iterable[Any]]:
    import pyarrow.ipc

    # The file format has a footer with the places of its batches. A stream is read from front to back.
    is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
    source.seek(0)
    if not is_file:
        stream = pyarrow.ipc.open_stream(source)
        return stream.schema, stream
    file = pyarrow.ipc.open_file(source)
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _table(path: Path, kind: str, schema: Any, batches: Iterable[Any]) -> Table:
    names = tuple(schema.names)
    first = {name: schema.field(name).type for name in names}
    # the columns of a struct can be named too, as those of an object in JSON
    columns = tuple(dict.fromkeys(name for key, kind in first.items() for name in (key, *_inside(key, kind))))
    return Table(str(path), columns, _rows(path, kind, batches), _class_names(schema.metadata or {}))


def _inside(name: str, kind: Any) -> list[str]:
    import pyarrow

    if not pyarrow.types.is_struct(kind):
        return []
    fields = [kind.field(number) for number in range(kind.num_fields)]
    inner = [(f"{name}.{field.name}", field.type) for field in fields]
    return [found for key, type in inner for found in (key, *_inside(key, type))]


def _rows(path: Path, kind: str, batches: Iterable[Any]) -> Iterator[RawRow]:
    import pyarrow

    number = 0
    try:
        for batch in batches:
            for values in batch.to_pylist():
                number += 1
                # The same dotted names as for JSON: a setting then works for both formats.
                yield RawRow(number, None, dotted({name: plain(value) for name, value in values.items()}))
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, kind, error, f" after row {number}") from error


def plain(value: Any) -> Any:
    """Return a date, a decimal number or UTF-8 bytes as the text that a CSV file would have. Keep other values."""
    # By the exact type: a datetime is also an instance of date.
    convert = _PLAIN.get(type(value))
    return value if convert is None else convert(value)


def _text(value: bytes) -> str | bytes:
    try:
        # A text column without a logical type comes as bytes.
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value


_PLAIN: dict[type, Callable[[Any], Any]] = {
    bytes: _text,
    decimal.Decimal: str,
    datetime.date: datetime.date.isoformat,
    datetime.time: datetime.time.isoformat,
    # With a space as pandas writes it into a CSV file, not with the T of isoformat.
    datetime.datetime: str,
}


def _damaged(path: Path, kind: str, error: Exception, where: str = "") -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{path} is not a readable {kind} file{where}: {reason} Download or write it again.")


def _class_label(feature: Any) -> dict[str, Any] | None:
    """Return a feature that is a ClassLabel, or that of a list of them; else None."""
    # `datasets` writes [feature], or since version 4 {"feature": ..., "_type": "List"}
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    if isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        feature = feature.get("feature")
    return feature if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        found = {name: _class_label(feature) for name, feature in features.items()}
        return {name: tuple(feature["names"]) for name, feature in found.items() if feature is not None}
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}  # Another program wrote this metadata. It need not have the form of `datasets`.
