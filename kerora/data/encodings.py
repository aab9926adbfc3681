"""Character encodings of text files: reading them, and what to say if bytes are not UTF-8."""

import codecs
import io
import re
from typing import IO, Any, cast

from kerora.errors import DataError

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# bytes from 0x80 to 0x9F: control characters in ISO 8859, but quotes, dashes and the euro sign in cp1252
_CONTROLS = re.compile("[\x80-\x84\x86-\x9f]")
_UNUSED_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
# without the quotes, dashes and signs of cp1252
_HIGH = re.compile(rb"[\x81-\x84\x86-\x90\x98\x9a-\x9f\xaa\xb5\xba\xc0-\xff]")
_LETTERS = re.compile(rb"[A-Za-z\x80-\xff]")
MOST_HIGH = 0.3
"""Western text has a smaller share of letters with accents than this. Text in other alphabets has a larger one."""


def is_utf8(encoding: str) -> bool:
    """Tell whether an encoding is UTF-8. Its byte order mark is removed with or without ``-sig``."""
    # lookup, because an encoding has many spellings: UTF8, utf_8, U8.
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def describe(raw: bytes) -> str:
    """Return what a line that is not UTF-8 may be, and how to read it."""
    if raw.startswith(UTF16_MARKS):
        return "The file is UTF-16. Read it with --encoding utf-16."
    if b"\0" in raw:
        # UTF-16 of Latin text has a zero in every second byte: in the odd places if the low byte comes first.
        order = "le" if raw[1::2].count(0) >= raw[::2].count(0) else "be"
        return f"The file may be UTF-16. Read it with --encoding utf-16-{order}."
    high = len(_HIGH.findall(raw))
    if high > MOST_HIGH * max(1, len(_LETTERS.findall(raw))):
        return (
            "Name the encoding of the file with --encoding, for example cp1251 (Cyrillic), gb18030 (Chinese), "
            "shift_jis or euc_jp (Japanese), euc_kr (Korean), cp1253 (Greek) or cp1256 (Arabic)."
        )
    if _UNUSED_IN_CP1252.search(raw):
        return "Name the encoding of the file with --encoding, for example mac_roman or cp850."
    return (
        "The file may be Windows text (cp1252, which includes Latin-1). Read it with --encoding cp1252, and look at "
        "the result with `kerora data show`."
    )


class Transcoded:
    """A stream in another encoding, as lines of UTF-8 bytes.

    Args:
        stream: the bytes of the file.
        encoding: their encoding.
        name: name of the file in messages.
    """

    def __init__(self, stream: IO[bytes], encoding: str, name: str) -> None:
        self.encoding = encoding
        self.name = name
        self._codec = codecs.lookup(encoding).name
        # newline="\n": only line feeds end a line, and no character is changed
        self._text = io.TextIOWrapper(cast(Any, stream), encoding, errors="strict", newline="\n")
        self._line = 0
        self._utf8_lines = self._other_lines = 0

    def readline(self) -> bytes:
        """Return the next line in UTF-8, or ``b""`` at the end.

        Raises:
            DataError: the bytes do not have the encoding, or are UTF-8 or cp1252 instead.
        """
        try:
            line = self._text.readline()
        except UnicodeError as error:
            raise DataError(
                f"{self.name}, after line {self._line}: not {self.encoding} ({error}). Choose another --encoding, or "
                "leave it out for UTF-8."
            ) from error
        self._line += 1
        if self._line == 1:
            # The codecs utf-16-le and utf-16-be keep the mark. utf-16 removes it itself.
            line = line.removeprefix("\ufeff")
        if not line:
            self._check_not_utf8()
        # ASCII is the same in most encodings and decides nothing.
        elif not line.isascii():
            self._check(line)
        # `Lines` decodes UTF-8 only, so that it has one way to find lines, offsets and faults.
        return line.encode("utf-8", "surrogatepass")

    def _check(self, line: str) -> None:
        if self._codec.startswith(("iso8859", "latin")) and (found := _CONTROLS.search(line)):
            raise DataError(
                f"{self.name}, line {self._line}: byte 0x{ord(found.group()):02X} is a control character in "
                f"{self.encoding}. The file may be Windows text. Read it with --encoding cp1252."
            )
        if self._codec.startswith("utf"):
            return
        try:
            # Back to the bytes of the file: are they valid UTF-8?
            line.encode(self.encoding).decode("utf-8")
            self._utf8_lines += 1
        except UnicodeError:
            self._other_lines += 1

    def _check_not_utf8(self) -> None:
        # Almost any bytes are valid in a one-byte encoding, but text in such an encoding is hardly ever valid UTF-8.
        if self._utf8_lines and not self._other_lines:
            raise DataError(f"{self.name} is UTF-8, not {self.encoding}. Leave out --encoding.")
