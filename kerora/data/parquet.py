"""Parquet files. pyarrow is imported only when a Parquet file is opened, because it needs memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kerora.data.table import RawRow, Table
from kerora.errors import DataError


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
        raise _damaged(path, error) from error
    with file:
        if not file.metadata.num_rows:
            raise DataError(f"{path} is empty. Give a file with rows.")
        schema = file.schema_arrow
        yield Table(str(path), tuple(schema.names), _rows(path, file, batch_rows), _class_names(schema.metadata or {}))


def _rows(path: Path, file: Any, batch_rows: int) -> Iterator[RawRow]:
    import pyarrow

    number = 0
    try:
        for batch in file.iter_batches(batch_size=batch_rows):
            for values in batch.to_pylist():
                number += 1
                yield RawRow(number, None, values)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error, f" after row {number}") from error


def _damaged(path: Path, error: Exception, where: str = "") -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{path} is not a readable Parquet file{where}: {reason} Download or write it again.")


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return {
            name: tuple(feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, AttributeError, KeyError, TypeError):
        return {}  # Another program wrote this metadata. It need not have the form of `datasets`.
