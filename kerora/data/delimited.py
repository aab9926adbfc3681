"""CSV and TSV files (RFC 4180, read by Python's csv module in strict mode)."""

import csv
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kerora.data.dialect import Dialect
from kerora.data.lines import BadLineError, Lines
from kerora.data.table import RawRow, Table
from kerora.errors import DataError

# A column with more different values holds texts or numbers, in which an equal value proves nothing.
KEPT_VALUES = 200
CSV_PROBLEMS = {
    "unexpected end of data": "a quote opens here and is not closed",
    "new-line character seen": "a carriage return stands outside quotes",
    "expected after": "text follows a closing quote",
}


@dataclass(slots=True)
class _Record:
    """One record: the line it starts on, its fields, what is wrong with it, and its lines in the file."""

    line: int
    fields: list[str]
    problem: str | None
    lines: list[tuple[int, str]]


def read_delimited(
    lines: Lines, columns: Sequence[str], dialect: Dialect | None = None, skip_bad_rows: bool = False
) -> Table:
    """Read delimited text.

    Args:
        lines: the file.
        columns: names for a file without a header line. If empty, the first line gives the names. A first line that
            is equal to the names, ignoring case, is a header too.
        dialect: separator and quotes. Default: commas and quotes.
        skip_bad_rows: whether a line that cannot be decoded is a bad row. Default: it is an error.

    Returns:
        The table. All values are text. Blank lines are skipped. Empty fields behind the last named column are dropped.
        A row with another number of fields, or that is not valid CSV, has a `problem`.

    Raises:
        DataError: the file is empty, or a column name occurs twice, or the first line contradicts `columns`. While the
            rows are read: two rows were joined by a stray quote at the start of the file.
    """
    reader = _Records(lines, dialect or Dialect(","), skip_bad_rows)
    first = next(reader, None)
    # A first line of separators alone has no names and no values.
    if first is None or not (first.problem or any(name.strip() for name in first.fields)):
        raise DataError(f"{lines.name} is empty. Give a file with rows.")
    if first.problem:
        raise DataError(f"{lines.name}, line {first.line} {first.problem}. Correct the first line.")
    place = f"{lines.name}, line {first.line}"
    # `columns` can be given for a file that has the header too. The header would else be a row.
    header = not columns or _is_header(first.fields, columns, place)
    names = tuple(columns) if columns else _names(first.fields, place)
    lines.row = 0
    rows = _Rows(lines, names, reader, [] if header else [first])
    return Table(lines.name, names, iter(rows), {}, header=not columns)


def _names(fields: Sequence[str], place: str) -> tuple[str, ...]:
    """Return the names of a header line, without empty ones at its end."""
    names = [name.strip() for name in fields]
    # Spreadsheets write separators for empty columns at the right.
    while names and not names[-1]:
        names.pop()
    for name in sorted(set(names)):
        if names.count(name) > 1:
            numbers = " and ".join(str(number) for number, other in enumerate(names, 1) if other == name)
            what = f"column '{name}' occurs twice" if name else f"columns {numbers} have no name"
            raise DataError(f"{place}: {what}. Give each column a name of its own.")
    return tuple(names)


def _is_header(fields: Sequence[str], columns: Sequence[str], place: str) -> bool:
    """Tell whether a first line is the header of a file whose columns are named in the settings.

    Raises:
        DataError: only some fields are names, or they stand in another order.
    """
    # Without quoting (TSV) the quotation marks of the header are part of its fields.
    found = [field.strip().strip('"').casefold() for field in fields]
    while len(found) > len(columns) and not found[-1]:
        found.pop()
    wanted = [name.strip().casefold() for name in columns]
    if found == wanted:
        return True
    same = [name for name, other in zip(wanted, found, strict=False) if name == other]
    # A value can be equal to a name by chance, so one name at another place is no sign of a header.
    if same or (len(found) > 1 and sorted(found) == sorted(wanted)):
        raise DataError(
            f"{place}: '{','.join(fields):.80}' looks like a header line, but it differs from --columns "
            f"{','.join(columns)}. Leave out --columns and name the columns with --text and --label. If it is a row, "
            "put a header line above it."
        )
    return False


class _Rows:
    """Makes rows of records, and checks the number of fields and that no rows were joined."""

    def __init__(self, lines: Lines, names: tuple[str, ...], records: "_Records", first: list[_Record]) -> None:
        self.lines, self.names, self.records, self.first = lines, names, records, first
        # the values so far of the columns that do not have many different ones
        self.seen: dict[int, set[str]] = {column: set() for column in range(len(names))}
        self.suspects: list[tuple[_Record, list[tuple[int, str]]]] = []

    def __iter__(self) -> Iterator[RawRow]:
        number = 0
        for part in (self.first, self.records):
            for record in part:
                number += 1
                self.lines.row = number
                problem = record.problem or self._problem(record)
                if problem is None:
                    self._see(record.fields)
                    values = dict(zip(self.names, record.fields, strict=False))
                    yield RawRow(number, record.line, values)
                else:
                    yield RawRow(number, record.line, {}, problem)
        # At the end every label was seen, so a doubt about an early record can be settled.
        for record, inner in self.suspects:
            if self._known(inner):
                raise DataError(f"{self.lines.name}, line {record.line} {_joined(record)}. Correct the quotes.")

    def _problem(self, record: _Record) -> str | None:
        width, wanted = len(record.fields), len(self.names)
        if width == wanted and len(record.lines) == 1:  # most rows
            return None
        # Empty fields behind the last name come from spreadsheets and lose nothing.
        extra = [field for field in record.fields[wanted:] if field.strip()]
        if width < wanted or extra:
            separator = self.records.dialect.delimiter
            hint = f"; a field that holds {separator!r} needs quotes around it" if self.records.dialect.quoted else ""
            listed = ", ".join(self.names[:8]) + (", ..." if wanted > 8 else "")
            return f"has the wrong number of fields: {width}, not {wanted} ({listed}){hint}"
        if len(record.lines) > 1 and self._is_joined(record):
            # The rows that the quote swallowed are read again, each by itself.
            self.records.give_back(record)
            return _joined(record)
        return None

    def _is_joined(self, record: _Record) -> bool:
        """Tell whether a stray quote joined rows: each line of the record is a whole row by itself.

        A text of several lines can look the same in a file with commas. There a value that another row has too, such as
        a label, must stand in its own column. A value that occurs only later is remembered.
        """
        delimiter = self.records.dialect.delimiter
        split = [text.rstrip("\r\n").split(delimiter) for _, text in record.lines]
        if len(self.names) < 2 or any(len(fields) != len(self.names) for fields in split):
            return False
        # Fields up to the quote that opens are the row's own, such as a label in front of the text.
        own = next((column for column, field in enumerate(split[0]) if '"' in field), len(self.names))
        values = [
            (column, field)
            # Not the last line: behind a real text of several lines it holds the true values of the next columns.
            for number, fields in enumerate(split[:-1])
            for column, field in enumerate(fields)
            if field.strip() and '"' not in field and (number or column > own)
        ]
        # A text of several lines hardly ever has the right number of tabs in each line.
        if delimiter == "\t" or self._known(values):
            return True
        # Bounded, because a file of documents can have such a record in every row.
        self.suspects += [(record, values)] if len(self.suspects) < KEPT_VALUES else []
        return False

    def _known(self, values: Sequence[tuple[int, str]]) -> bool:
        return any(value in self.seen.get(column, ()) for column, value in values)

    def _see(self, fields: Sequence[str]) -> None:
        full = None
        for column, found in self.seen.items():
            found.add(fields[column])
            full = column if len(found) > KEPT_VALUES else full
        # One at a time: a dict must keep its keys while it is iterated. Another full column goes with the next row.
        if full is not None:
            del self.seen[full]


def _joined(record: _Record) -> str:
    first, last = record.lines[0][0], record.lines[-1][0]
    return f"joins whole rows: a quote opens on line {first} and closes on line {last}"


class _Feed:
    """The lines of a file for a csv.reader, with their numbers. Lines can be given back to be read again."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.taken: list[tuple[int, str]] = []
        self.again: deque[tuple[int, str]] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.again:
            number, text = self.again.popleft()
        else:
            text = next(self.lines)
            number = self.lines.line
        # The csv module asks for as many lines as a record has. This is the only way to know which.
        self.taken.append((number, text))
        return text


class _Records:
    """Non-blank records with the line that each starts on.

    After a record that is not valid, its other lines are read again. A stray quote would otherwise swallow them.
    """

    def __init__(self, lines: Lines, dialect: Dialect, skip_bad_rows: bool) -> None:
        # Python's default limit of 131,072 characters a field is too short for documents. The limit is a C long, which
        # has 32 bits on some systems.
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        self.dialect = dialect
        self._skip_bad_rows = skip_bad_rows
        self._feed = _Feed(lines)
        # strict: else the module accepts text behind a closing quote and joins rows without an error.
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
        self._parsed = csv.reader(self._feed, delimiter=dialect.delimiter, quoting=quoting, strict=True)
        for _ in range(dialect.skip):
            next(lines)

    def __iter__(self) -> Iterator[_Record]:
        return self

    def __next__(self) -> _Record:
        while True:
            # A new list for each record: the earlier record keeps its own.
            self._feed.taken = []
            try:
                fields = next(self._parsed)
            except csv.Error as error:
                # The reader drops the broken record at its next call, so the loop can continue with it.
                return self._invalid(str(error))
            except BadLineError as error:
                if not self._skip_bad_rows:
                    raise
                line = self._feed.taken[0][0] if self._feed.taken else self._feed.lines.line
                return _Record(line, [], error.problem, self._feed.taken)
            if fields:
                return _Record(self._feed.taken[0][0], fields, None, self._feed.taken)

    def give_back(self, record: _Record) -> None:
        """Read the lines of a record again, except the first one."""
        # The first line holds the stray quote, which would open again. extendleft reverses the order.
        self._feed.again.extendleft(reversed(record.lines[1:]))

    def _invalid(self, reason: str) -> _Record:
        taken = self._feed.taken
        known = next((words for start, words in CSV_PROBLEMS.items() if start in reason), reason)
        record = _Record(taken[0][0], [], f"is not valid CSV: {known}", taken)
        self.give_back(record)
        return record
