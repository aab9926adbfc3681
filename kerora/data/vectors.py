"""Writes vectors of texts into a .npy or a .parquet file, a part at a time."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from kerora.errors import ConfigError
from kerora.runfolder import atomic_file

ENDINGS = (".npy", ".parquet")
COLUMN = "embedding"
Write = Callable[[Sequence[str], np.ndarray], None]
"""Adds vectors, float32 (rows, width), with the ids of their rows."""


def check_ending(path: Path) -> None:
    """Check that a file of vectors can be written under this name.

    Raises:
        ConfigError: it has another ending.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"The output must end in {' or '.join(ENDINGS)}. Received: {path}")


@contextlib.contextmanager
def vector_file(path: Path, width: int) -> Iterator[Write]:
    """Open a file of vectors. On an error no file is left.

    ``.npy`` holds the vectors alone, float32 (rows, width). ``.parquet`` has the columns ``id`` (text) and
    ``embedding`` (a list of `width` float32 values).

    Raises:
        ConfigError: the file has another ending.
        RunError: the file cannot be written.
    """
    check_ending(path)
    opened = _npy if path.suffix.lower() == ".npy" else _parquet
    with atomic_file(path, "wb") as stream, opened(stream, width) as write:
        yield write


@contextlib.contextmanager
def _npy(stream: IO[bytes], width: int) -> Iterator[Write]:
    rows = 0

    def header() -> None:
        facts = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        # NumPy leaves room for the largest number of rows, so the header can be written again at the end.
        np.lib.format.write_array_header_1_0(stream, facts)

    def write(ids: Sequence[str], vectors: np.ndarray) -> None:
        nonlocal rows
        rows += len(vectors)
        stream.write(np.ascontiguousarray(vectors, "<f4").tobytes())

    header()
    start = stream.tell()
    yield write
    stream.seek(0)
    header()
    assert stream.tell() == start, "the header of the .npy file has grown over the vectors"


@contextlib.contextmanager
def _parquet(stream: IO[bytes], width: int) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    kind = pyarrow.list_(pyarrow.float32(), width)
    schema = pyarrow.schema([("id", pyarrow.string()), (COLUMN, kind)])
    with pyarrow.parquet.ParquetWriter(stream, schema) as writer:

        def write(ids: Sequence[str], vectors: np.ndarray) -> None:
            values: Any = pyarrow.FixedSizeListArray.from_arrays(np.ascontiguousarray(vectors, "<f4").ravel(), width)
            writer.write_batch(pyarrow.record_batch([pyarrow.array(list(ids), pyarrow.string()), values], schema))

        yield write
