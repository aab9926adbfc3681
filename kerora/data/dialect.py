"""Finds out how a CSV or TSV file is written: its field separator, and whether its fields are quoted."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kerora.data.lines import BadLineError, Lines, open_lines
from kerora.errors import DataError
from kerora.notices import notice
from kerora.settings.fit import DataConfig

SPELLED_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
CANDIDATES = (",", ";", "\t", "|")
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
# Enough for a majority although texts contain separators. The lines wait in memory until they are read.
SAMPLE_LINES = 50
# Excel writes this line above the header
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[;,\t]*', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        delimiter: field separator, one character.
        quoted: whether fields may stand in double quotes.
        skip: lines before the header: 1 after a line such as ``sep=;``, else 0.
    """

    delimiter: str
    quoted: bool = True
    skip: int = 0


def delimiter_of(config: DataConfig, suffix: str) -> str:
    r"""Return the field separator: the setting, or by default a tab for ``.tsv`` and a comma for ``.csv``.

    Raises:
        DataError: the setting is not one character. The names ``tab``, ``comma``, ``semicolon``, ``pipe`` and ``\t``
            are allowed.
    """
    if config.delimiter is None:
        return "\t" if suffix == ".tsv" else ","
    delimiter = SPELLED_DELIMITERS.get(config.delimiter, config.delimiter)
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise DataError(f"Setting 'delimiter' must be one character, such as ; or tab. Received: {config.delimiter!r}")
    return delimiter


def find_dialect(lines: Lines, config: DataConfig, suffix: str, path: Path | None = None) -> Dialect:
    """Find the dialect of an open file. The lines can still be read.

    The separator is the setting, or that of a first line ``sep=;``, or the usual one of the ending. If the first lines
    have no field separated by that one, but by exactly one other of comma, semicolon, tab and ``|``, it is the other
    one. This is noted.

    Args:
        lines: the file.
        config: delimiter and columns.
        suffix: ``.csv`` or ``.tsv``.
        path: the file, to read all of it where that decides whether fields of a tab-separated file are quoted. None for
            a stream.

    Raises:
        DataError: the setting is wrong, or several separators are possible.
    """
    usual = delimiter_of(config, suffix)
    sample = lines.first_lines(SAMPLE_LINES)
    named = _SEPARATOR_LINE.fullmatch(sample[0].strip(" \r\n")) if sample else None
    skip = 0 if named is None else 1
    if config.delimiter is not None:
        delimiter = usual
    elif named is not None:
        delimiter = named.group(1)
    else:
        delimiter = _sniffed(sample, usual, len(config.columns), lines.name)
    # A stream cannot be read twice, so its tab-separated fields count as not quoted.
    quoted = delimiter != "\t" or (path is not None and is_quoted(path, delimiter, config.encoding))
    return Dialect(delimiter, quoted, skip)


def is_quoted(path: Path, delimiter: str, encoding: str = "utf-8") -> bool:
    """Tell whether the fields of a tab-separated file are quoted.

    Many published TSV files, such as those of GLUE, were written without quoting and contain single quotation marks.
    A quoted reading of them can join rows without an error. So fields are quoted only if every line alone is valid, or
    if rows have the same number of fields only with quotes around line ends.
    """
    widths: set[int] = set()
    quotes = wrapped = False
    alone = True
    try:
        with open_lines(path, encoding) as lines:
            for line in lines:
                text = line.rstrip("\r\n")
                fields = text.split(delimiter)
                widths |= {len(fields)} if text.strip() else set()
                if '"' in text and any(field.startswith('"') for field in fields):
                    quotes = True
                    # Only for the notice: a field with marks at both ends was probably meant to be quoted.
                    wrapped = wrapped or any(len(field) > 1 and field[0] == field[-1] == '"' for field in fields)
                    # A stray mark at the start of a field makes the line invalid, or changes its number of fields.
                    alone = alone and _width(text, delimiter) == len(fields)
    except DataError:
        return False  # the reader itself reports the line
    if not quotes:
        return False
    # Lines of different width: only quotes around line ends can make equal rows of them.
    quoted = alone if len(widths) <= 1 else _one_width(path, delimiter, encoding)
    if wrapped and not quoted:
        notice(f"{path}: the quotation marks are read as characters, because not every field is quoted as a whole.")
    return quoted


def _sniffed(sample: Sequence[str], usual: str, columns: int, name: str) -> str:
    # The usual separator comes first: commas in the texts of a TSV must not decide.
    if not sample or _fits(sample, usual, columns):
        return usual
    others = [other for other in CANDIDATES if other != usual and _fits(sample, other, columns)]
    if len(others) == 1:
        notice(
            f"{name}: the fields are separated by a {NAMES[others[0]]}, not by a {NAMES[usual]}. --delimiter names "
            "another separator."
        )
        return others[0]
    # With the usual separator in the header, the other marks are part of the texts.
    if len(others) > 1 and usual not in sample[0]:
        listed = " or ".join(NAMES[other] for other in others)
        raise DataError(
            f"{name}: the fields can be separated by {listed}. Name one with --delimiter {NAMES[others[0]]}."
        )
    return usual


def _fits(sample: Sequence[str], delimiter: str, columns: int) -> bool:
    """Tell whether the first line has several fields (or as many as there are names), and no other line has fewer."""
    # With the csv module and not with str.split, because a quoted text may hold the separator.
    widths = _widths(sample, delimiter)
    wanted = columns or (widths[0] if widths else 0)
    # A quote in the first line swallowed the whole sample, so this is not the separator.
    if delimiter in sample[0] and len(widths) < 2 and len(sample) > 1:
        return False
    # a ragged line is reported as a bad row: half of the lines are enough to recognise the separator
    return wanted > 1 and widths.count(wanted) * 2 > len(widths)


def _widths(sample: Sequence[str], delimiter: str) -> list[int]:
    widths: list[int] = []
    reader = csv.reader((f"{line}\n" for line in sample), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader, None)
        except csv.Error:  # a quote that closes behind the sample, or an invalid line
            continue
        if fields is None:
            return widths
        widths += [len(fields)] if fields else []


def _width(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter, strict=True), []))
    except csv.Error:
        return 0


def _one_width(path: Path, delimiter: str, encoding: str) -> bool:
    try:
        with open_lines(path, encoding) as lines:
            return len({len(fields) for fields in csv.reader(lines, delimiter=delimiter, strict=True) if fields}) <= 1
    except (csv.Error, BadLineError):
        return False
