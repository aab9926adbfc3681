"""Opens files as bytes. Compressed files are recognised by their first bytes, whatever their name is."""

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from kerora.errors import DataError

ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zip")
# zipfile raises RuntimeError for an encrypted member, and NotImplementedError for an unknown method
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)
# More than the longest of the marks below, and less than the buffer of a stream, beyond which peek cannot look.
FIRST_BYTES = 512
# Without this, such a file would be reported as text in a wrong encoding, which hides the cause.
_FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file. Save the table as CSV (UTF-8)",
    b"%PDF-": "a PDF file. Give a file with a table or plain text",
    b"SQLite format 3\0": "an SQLite database. Export the table as CSV",
    b"\x89HDF": "an HDF5 file. Save the table as CSV or Parquet",
    b"version https://git-lfs": "only a pointer of Git LFS, not the data. Run `git lfs pull` in its folder",
}


# The standard library of Python 3.11 has no zstandard. pyarrow is a dependency already.
def _zstandard(stream: IO[bytes]) -> IO[bytes]:
    import pyarrow

    raw = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), "zstd")
    return io.BufferedReader(cast(Any, raw))


_OPENERS: dict[str, tuple[re.Pattern[bytes], Callable[[IO[bytes]], IO[bytes]]]] = {
    # 08: the only method that RFC 1952 defines.
    "gzip": (re.compile(rb"\x1f\x8b\x08"), lambda stream: cast(IO[bytes], gzip.GzipFile(fileobj=stream))),
    # A text can begin with "BZh1". The mark of the first block, or of the end of an empty file, must follow.
    "bzip2": (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), lambda stream: cast(IO[bytes], bz2.BZ2File(stream))),
    "xz": (re.compile(rb"\xfd7zXZ\0"), lambda stream: cast(IO[bytes], lzma.LZMAFile(stream))),  # noqa: SIM115
    "zstandard": (re.compile(rb"\x28\xb5\x2f\xfd"), _zstandard),
    "zip": (re.compile(rb"PK\x03\x04"), lambda stream: _only_member(stream)),
}


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, and decompress gzip, bzip2, xz, zstandard, or a zip archive that holds one file.

    Raises:
        DataError: the file cannot be opened, is of a foreign kind, or is a zip archive of several files.
    """
    try:
        raw = open(path, "rb")  # noqa: SIM115 (closed by the block below)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. Check the path and its permissions.") from error
    with raw:
        yield decompressed(raw, str(path))


def decompressed(stream: IO[bytes], name: str) -> io.BufferedReader:
    """Return the content of a stream, decompressed if its first bytes say so.

    Args:
        stream: the stream. A zip archive needs one that can seek.
        name: name of the file in messages.

    Raises:
        DataError: the file is of a foreign kind, or is a zip archive of several files.
    """
    buffered = _buffered(stream)
    head = first_bytes(buffered, name)
    for start, kind in _FOREIGN.items():
        if head.startswith(start):
            raise DataError(f"{name} is {kind}.")
    found = next((kind for kind, (magic, _) in _OPENERS.items() if magic.match(head)), None)
    if found is None:
        return buffered
    try:
        # The second buffer gives `peek` and `readline` to the decompressed bytes.
        return _buffered(_OPENERS[found][1](buffered))
    except (*DAMAGED, OSError, NotImplementedError) as error:
        raise damaged(name, error) from error
    except _SeveralMembers as error:
        raise DataError(f"{name} {error}") from None


def first_bytes(stream: io.BufferedReader, name: str) -> bytes:
    """Return the first bytes of a stream. They can still be read.

    Raises:
        DataError: the file is damaged, or cannot be read.
    """
    try:
        # peek can return more than it was asked for, and it does not move the position.
        return stream.peek(FIRST_BYTES)[:FIRST_BYTES]
    except (*DAMAGED, OSError) as error:
        raise damaged(name, error) from error


def damaged(name: str, error: Exception, where: str = "") -> DataError:
    """Return the error for a compressed file that cannot be decompressed."""
    if isinstance(error, RuntimeError) and "password" in str(error):
        return DataError(f"{name} is an encrypted zip archive. Unpack it first.")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{name} is a damaged compressed file{where}: {reason}. Download or compress it again.")


def zip_member(path: Path) -> str:
    """Return the name of the only file in a zip archive, or ``""``."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = _members(archive)
    except (OSError, zipfile.BadZipFile):
        return ""
    return names[0] if len(names) == 1 else ""


class _SeveralMembers(Exception):
    pass


def _only_member(stream: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(stream)
    names = _members(archive)
    if len(names) == 1:
        return archive.open(names[0])
    # Office files are zip archives, and this member is in each of them (Open Packaging Conventions).
    if "[Content_Types].xml" in names:
        raise _SeveralMembers("is an Excel or Word file. Save the table as CSV (UTF-8).")
    # The first member of every OpenDocument file (OpenDocument 1.3, part 2, section 3.3).
    if names[:1] == ["mimetype"]:
        raise _SeveralMembers("is an OpenDocument file. Save the table as CSV (UTF-8).")
    listed = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise _SeveralMembers(
        f"is a zip archive of {len(names)} files ({listed}). Unpack it, and give the folder or one of the files."
    )


def _members(archive: zipfile.ZipFile) -> list[str]:
    """Return the files of an archive, without the folders and what macOS adds."""
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    return [name for name in names if not name.rpartition("/")[2].startswith(".")]


def _buffered(stream: IO[bytes]) -> io.BufferedReader:
    return stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(Any, stream))
