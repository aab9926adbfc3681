"""Text files as decoded lines. Errors give the place in the file."""

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kerora.data.compression import DAMAGED, damaged, open_bytes
from kerora.data.encodings import Transcoded, describe, is_utf8
from kerora.errors import DataError, reason_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINES_FOR_ADVICE = 100
# A few wrong lines are bad rows. More of them than right ones are a file in another encoding.
MOST_FOREIGN = 10
_LONE_CR = re.compile(rb"\r(?!\n)")
_AFTER_CR = re.compile(rb"(?<=\r)(?!\n)")


class BadLineError(DataError):
    """A line cannot be decoded. The next line can still be read.

    Attributes:
        problem: what is wrong with the line, as for a bad row.
    """

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(message)
        self.problem = problem


class Lines:
    """The lines of a stream of text, with their line ends. A byte order mark at the start is removed.

    The lines of a file without line feeds end at its carriage returns.

    Args:
        stream: bytes, read line by line, so that files of any size can be streamed.
        name: name of the file in messages.
        encoding: the character encoding. Default: UTF-8.

    Attributes:
        line: number of the line yielded last, from 1.
        row: number of the row made last, or None before the first row. The reader of the format sets it.
    """

    def __init__(self, stream: IO[bytes], name: str, encoding: str = "utf-8") -> None:
        self.name = name
        self.line = 0
        self.row: int | None = None
        # UTF-8 is decoded line by line here, so that an error has an offset and the next line can be read.
        self._stream: IO[bytes] | Transcoded = stream if is_utf8(encoding) else Transcoded(stream, encoding, name)
        self._offset = 0
        self._read_any = False
        self._advice = ""
        self._good = self._foreign = 0
        self._ahead: deque[bytes] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._next_raw()
        if not raw:
            raise StopIteration  # an empty line has at least its line end
        self.line += 1
        start, self._offset = self._offset, self._offset + len(raw)
        if self.line == 1 and raw.startswith(BYTE_ORDER_MARK):
            raw, start = raw[3:], 3  # offsets count the mark
        return self._decode(raw, start)

    def first_lines(self, count: int = 1, blank: bool = False) -> list[str]:
        """Return the next lines without their ends. They can still be read.

        Args:
            count: number of lines.
            blank: whether to return blank lines too. Default: they are left out and not counted.
        """
        found: list[str] = []
        place = 0
        while len(found) < count:
            if place == len(self._ahead) and not self._fill():
                break
            # "replace", because this only looks ahead. `_decode` reports the fault when the line is read.
            text = self._ahead[place].removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace").rstrip("\r\n")
            found += [text] if blank or text.strip() else []
            place += 1
        return found

    def place(self, line: int | None = None) -> str:
        """Return the position of the reader: ``FILE, row 3 (line 4)``, or ``FILE, line 1`` before the first row."""
        line = self.line if line is None else line
        return f"{self.name}, line {line}" if self.row is None else f"{self.name}, row {self.row + 1} (line {line})"

    def _next_raw(self) -> bytes:
        return self._ahead.popleft() if self._ahead or self._fill() else b""

    def _fill(self) -> bool:
        """Read at least one more line ahead. Return False at the end."""
        raw = self._readline()
        # A file with carriage returns only, as some spreadsheets write it, is a single line for readline.
        first, self._read_any = not self._read_any, True
        if not raw or not first or not _LONE_CR.search(raw.rstrip(b"\r\n")):
            self._ahead += [raw] if raw else []
            return bool(raw)
        after = self._readline()
        # A second line shows that line feeds end the lines. Carriage returns then belong to the texts.
        self._ahead += [raw, after] if after else filter(None, _AFTER_CR.split(raw))
        return True

    def _what_it_is(self, raw: bytes) -> str:
        """Return what the file may be. More lines are looked at, because one line can have only one foreign byte."""
        if not self._advice:
            while len(self._ahead) < LINES_FOR_ADVICE and self._fill():
                pass
            self._advice = describe(raw + b"".join(self._ahead))
        return self._advice

    def _readline(self) -> bytes:
        try:
            return self._stream.readline()
        except DAMAGED as error:
            raise damaged(self.name, error, f" after line {self.line}") from error
        except OSError as error:
            if error.errno is None:  # a decompressor raised it
                raise damaged(self.name, error, f" after line {self.line}") from error
            raise DataError(f"Cannot read {self.name}: {reason_of(error)}. Check the file and its disk.") from error

    def _decode(self, raw: bytes, start: int) -> str:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            offset, byte = start + error.start, raw[error.start]
            problem = f"is not UTF-8: byte 0x{byte:02X}"
            message = f"{self.place()}, byte offset {offset}: byte 0x{byte:02X} is not UTF-8. {self._what_it_is(raw)}"
            self._foreign += 1
            if self._foreign > max(MOST_FOREIGN, self._good):
                raise DataError(message) from error  # not single bad lines, but a file in another encoding
            raise BadLineError(message, problem) from error
        # ASCII lines are valid in almost every encoding and show nothing.
        self._good += not text.isascii()
        # NUL is valid UTF-8, but in a text file it is a sign of UTF-16 or of a damaged disk.
        if "\0" in text:
            offset = start + raw.index(b"\0")
            remedy = (
                self._what_it_is(raw) if raw.count(b"\0") > 1 else "Remove the byte, for example with tr -d '\\000'."
            )
            message = f"{self.place()}, byte offset {offset}: a NUL byte. Text files hold none. {remedy}"
            raise BadLineError(message, "holds a NUL byte")
        return text


@contextmanager
def open_lines(path: Path, encoding: str = "utf-8") -> Iterator[Lines]:
    """Open a text file. A compressed file is decompressed.

    Args:
        path: the file.
        encoding: its character encoding. Default: UTF-8.

    Raises:
        DataError: the file cannot be opened. While it is read: it has another encoding, holds a NUL byte, or is a
            damaged compressed file.
    """
    with open_bytes(path) as stream:
        yield Lines(stream, str(path), encoding)
