"""The standard streams of a command: closed ones, and encodings that lack a character."""

import codecs
import io
import os
import sys
from typing import BinaryIO, TextIO

from kerora.errors import ConfigError

ESCAPE = "kerora.escape"
"""Error handler of the output. It writes escapes such as ``\\U0001f600`` and remembers that it did."""

# For the whole process: after `prepare_streams` a closed stream has the null device and looks open.
_closed: set[str] = set()
_escaped: list[str] = []


def prepare_streams() -> None:
    """Make standard output and standard error writable whatever they are.

    A closed stream gets the null device. Otherwise the next file that is opened would take its number, and print would
    write into that file. Characters that the encoding lacks become escapes.
    """
    _occupy_numbers()
    # A process can run several commands, as the tests do.
    _escaped.clear()
    codecs.register_error(ESCAPE, _escape)
    for name in ("stdout", "stderr"):
        # Python sets a stream to None if its number was closed when the process started.
        if getattr(sys, name) is None:
            _closed.add(name)
            # the file stays open until the process ends
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        _set_errors(getattr(sys, name), ESCAPE)


def escape_note() -> str:
    """Return the note that characters were written as escapes, or "" if none were."""
    if not _escaped:
        return ""
    return (
        f"The output has the encoding {sys.stdout.encoding}. Characters that it lacks are shown as escapes, such "
        f"as {_escaped[0]}. Set PYTHONIOENCODING=utf-8 to see them."
    )


def data_output() -> TextIO:
    """Return standard output for results that another program reads. There no character may become an escape.

    Raises:
        ConfigError: standard output is closed.
    """
    if "stdout" in _closed:
        raise ConfigError("Standard output is closed. Give a file with --output.")
    _set_errors(sys.stdout, "strict")
    return sys.stdout


def lacking(error: UnicodeEncodeError) -> str | None:
    """Return the message for a character of the results that standard output lacks, or None for another error."""
    # Only `data_output` sets "strict", so any other error is about another file.
    if getattr(sys.stdout, "errors", None) != "strict":
        return None
    return (
        f"Standard output has the encoding {sys.stdout.encoding}, which lacks {error.object[error.start]!a}. "
        "Give a file with --output, which is written in UTF-8, or set PYTHONIOENCODING=utf-8."
    )


def data_input() -> BinaryIO:
    """Return the bytes of standard input.

    Raises:
        ConfigError: standard input is closed.
    """
    return text_input().buffer


def text_input() -> TextIO:
    """Return standard input as text.

    Raises:
        ConfigError: standard input is closed.
    """
    if sys.stdin is None:
        raise ConfigError("Standard input is closed. Name a file, or pipe text into the command.")
    return sys.stdin


def _occupy_numbers() -> None:
    # `open` takes the lowest free number, so that the three are filled in their order
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _set_errors(stream: TextIO, errors: str) -> None:
    # A test or a notebook can put another object in place of the stream.
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=errors)


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    # Python's own handler makes the text. This one only remembers that it was needed.
    text, end = codecs.backslashreplace_errors(error)
    _escaped.append(str(text))
    return text, end
