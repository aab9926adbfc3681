"""CSV and TSV files (RFC 4180, read by Python's csv module in strict mode)."""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from kerora.data.lines import Lines, open_lines
from kerora.data.table import RawRow, Table
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

SPELLED_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";"}
Quoting = Literal[0, 3]
QUOTE_REMEDY = 'Put fields that hold quotes, delimiters or line ends in "..." and double the quotes inside.'


def delimiter_of(config: DataConfig, suffix: str) -> str:
    r"""Return the field separator: the setting, or by default a tab for ``.tsv`` and a comma for ``.csv``.

    Raises:
        DataError: the setting is not one character. The names ``tab``, ``comma``, ``semicolon`` and ``\t`` are allowed.
    """
    if config.delimiter is None:
        return "\t" if suffix == ".tsv" else ","
    delimiter = SPELLED_DELIMITERS.get(config.delimiter, config.delimiter)
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise DataError(f"Setting 'delimiter' must be one character, such as ; or tab. Received: {config.delimiter!r}")
    return delimiter


def is_quoted(path: Path, delimiter: str) -> bool:
    """Tell whether a whole tab-separated file can be parsed with quoted fields.

    Many published TSV files, such as those of GLUE, were written without quoting and contain single quotation marks.
    They cannot be parsed with quoting, so they are read without it.
    """
    try:
        with open_lines(path) as lines:
            return len({len(fields) for fields in _parse(lines, delimiter, csv.QUOTE_MINIMAL) if fields}) <= 1
    except (csv.Error, DataError):
        return False


def read_delimited(lines: Lines, columns: Sequence[str], delimiter: str, quoted: bool = True) -> Table:
    """Read delimited text.

    Args:
        lines: the file.
        columns: names for a file without a header line. If empty, the first line gives the names. A first line that
            is equal to the names is a header too.
        delimiter: field separator, one character.
        quoted: whether fields may stand in double quotes.

    Returns:
        The table. All values are text. Blank lines are skipped.

    Raises:
        DataError: the file is empty, or a column name occurs twice. While the rows are read: a row has a different
            number of fields or is not valid CSV.
    """
    parsed = _located(lines, delimiter, csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    line, first = next(parsed, (0, []))
    if not first:
        raise DataError(f"{lines.name} is empty. Give a file with rows.")
    names = tuple(columns) if columns else tuple(name.strip() for name in first)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{lines.name}, line {line}: column '{repeated[0]}' occurs twice. Rename one of them.")
    lines.row = 0
    without_header = [(line, first)] if columns and tuple(first) != names else []
    return Table(lines.name, names, _rows(lines, names, without_header, parsed), {})


def _rows(
    lines: Lines, names: tuple[str, ...], first: list[tuple[int, list[str]]], rest: Iterator[tuple[int, list[str]]]
) -> Iterator[RawRow]:
    for part in (first, rest):
        for line, fields in part:
            if len(fields) != len(names):
                raise DataError(
                    f"{lines.place(line)}: expected {len(names)} fields ({', '.join(names)}), found {len(fields)}. "
                    f"{QUOTE_REMEDY}"
                )
            lines.row = (lines.row or 0) + 1
            yield RawRow(lines.row, line, dict(zip(names, fields, strict=True)))


def _located(lines: Lines, delimiter: str, quoting: Quoting) -> Iterator[tuple[int, list[str]]]:
    """Yield non-blank records with the line that each starts on."""
    parsed = _parse(lines, delimiter, quoting)
    while True:
        # A quoted field may hold line ends, so a record can take several lines.
        start = lines.line + 1
        try:
            fields = next(parsed, None)
        except csv.Error as error:
            raise DataError(f"{lines.place(start)}: not valid CSV ({error}). {QUOTE_REMEDY}") from error
        if fields is None:
            return
        if fields:
            yield start, fields


def _parse(lines: Lines, delimiter: str, quoting: Quoting) -> Iterator[list[str]]:
    # Python's default limit of 131,072 characters a field is too short for documents. The limit is a C long, which
    # has 32 bits on some systems.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
