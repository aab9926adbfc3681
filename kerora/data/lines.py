"""Text files as decoded lines. Errors give the place in the file."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from kerora.errors import DataError, reason_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
DAMAGED_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


class Lines:
    """The lines of a UTF-8 stream, with their line ends. A byte order mark at the start is removed.

    Args:
        stream: bytes, read line by line, so that files of any size can be streamed.
        name: name of the file in messages.

    Attributes:
        line: number of the line yielded last, from 1.
        row: number of the row made last, or None before the first row. The reader of the format sets it.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        self.line = 0
        self.row: int | None = None
        self._stream = stream
        self._offset = 0
        self._ahead: list[bytes] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._ahead.pop(0) if self._ahead else self._read()
        if not raw:
            raise StopIteration
        self.line += 1
        start, self._offset = self._offset, self._offset + len(raw)
        if self.line == 1 and raw.startswith(BYTE_ORDER_MARK):
            raw, start = raw[3:], 3
        return self._decode(raw, start)

    def first_character(self) -> str:
        """Return the first character that is not white space, or ``""`` at the end. The lines can still be read."""
        while raw := self._read():
            self._ahead.append(raw)
            if text := raw.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace").strip():
                return text[0]
        return ""

    def place(self, line: int | None = None) -> str:
        """Return the position of the reader: ``FILE, row 3 (line 4)``, or ``FILE, line 1`` before the first row."""
        line = self.line if line is None else line
        return f"{self.name}, line {line}" if self.row is None else f"{self.name}, row {self.row + 1} (line {line})"

    def _read(self) -> bytes:
        try:
            return self._stream.readline()
        except DAMAGED_GZIP as error:
            problem = f"{self.name} is a damaged gzip file after line {self.line}: {error}."
            raise DataError(f"{problem} Download or compress it again.") from error
        except OSError as error:
            raise DataError(f"Cannot read {self.name}: {reason_of(error)}. Check the file and its disk.") from error

    def _decode(self, raw: bytes, start: int) -> str:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            charset = "UTF-16" if self.line == 1 and raw.startswith(UTF16_MARKS) else "LATIN1"
            offset, byte = start + error.start, raw[error.start]
            raise DataError(
                f"{self.place()}, byte offset {offset}: byte 0x{byte:02X} is not UTF-8. "
                f"Convert the file, for example: iconv -f {charset} -t UTF-8 FILE > NEW_FILE"
            ) from error
        if "\0" in text:
            offset = start + raw.index(b"\0")
            raise DataError(
                f"{self.place()}, byte offset {offset}: a NUL byte. Text files hold none. "
                "If the file is UTF-16, convert it with iconv -f UTF-16 -t UTF-8; "
                "otherwise remove the byte with tr -d '\\000'."
            )
        return text


@contextmanager
def open_lines(path: Path) -> Iterator[Lines]:
    """Open a text file. A file that ends in ``.gz`` is decompressed.

    Raises:
        DataError: the file cannot be opened. While it is read: it is not UTF-8, holds a NUL byte, or is a damaged
            gzip file.
    """
    try:
        raw = open(path, "rb")  # noqa: SIM115 (closed by the block below)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. Check the path and its permissions.") from error
    with raw, _decompressed(raw, path) as stream:
        yield Lines(stream, str(path))


def _decompressed(raw: IO[bytes], path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix.lower() == ".gz" else raw
