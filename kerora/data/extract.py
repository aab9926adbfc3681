"""Tables into rows: texts, label names and identifiers, with a check of every value."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerora.data.columns import Columns, find_columns
from kerora.data.rows import Rows
from kerora.data.table import RawRow, Table
from kerora.data.text_store import TextStore
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Record:
    """One unlabelled row, as prediction reads it.

    Attributes:
        id: the id column's value, or the row number as text.
        text: the text; the first sentence of a pair.
        pair: the second sentence of a pair, or None.
        row_number: number of the data row from 1; for plain text the number of the line.
    """

    id: str
    text: str
    pair: str | None
    row_number: int


@dataclass
class LabelledRows:
    """Rows of one part before classes have numbers.

    Attributes:
        source: the file or data set, for messages.
        rows: the rows, without labels.
        names: the label of each row as text; integers and booleans as ``"3"`` and ``"true"``.
        first_seen: where each label occurs first, for messages.
        classes: all class names in order where the source itself knows them.
        skipped: bad rows that were dropped.
    """

    source: str
    rows: Rows
    names: list[str] = field(default_factory=list)
    first_seen: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    skipped: int = 0

    def append(self, record: Record, label: str, place: str) -> None:
        """Add a row; `place` is where it stands, such as ``row 3 (line 4)``."""
        self.rows.texts.append(record.text)
        self.rows.ids.append(record.id)
        if record.pair is not None:
            if self.rows.pairs is None:
                self.rows.pairs = TextStore()
            self.rows.pairs.append(record.pair)
        if label not in self.first_seen:
            self.first_seen[label] = place
        self.names.append(sys.intern(label))  # one object a class, not one a row


def unread_part(source: str | Path) -> LabelledRows:
    """Return a part without rows, which stands for one that is there and is not to be read."""
    return LabelledRows(str(source), Rows(TextStore(), TextStore()))


def read_labelled(table: Table, config: DataConfig) -> LabelledRows:
    """Read all rows of a table.

    Raises:
        DataError: a column is missing; texts or labels are empty or of the wrong type (row numbers and
            count; with `skip_bad_rows` such rows are dropped and counted); no row is left.
    """
    columns = find_columns(table.columns, config, table.name)
    known = table.class_names.get(columns.label or "")
    result = LabelledRows(table.name, Rows(TextStore(), TextStore()), classes=known)
    problems: list[str] = []
    for row in table.rows:
        problem = _row_problem(row, columns)
        if problem is None:
            label = _label_name(row, columns, table.name, known)
            result.append(_record(row, columns), label, row.place)
        else:
            result.skipped += 1
            if len(problems) < SHOWN_ROWS:
                problems.append(f"{row.place} {problem}")
    check_problems(table.name, problems, result.skipped, len(result.rows), config)
    return result


def read_records(table: Table, config: DataConfig) -> Iterator[Record]:
    """Stream the texts of a table; label columns are not looked at.

    Raises:
        DataError: a text column is missing; while reading also when a text is empty or no text, unless
            `skip_bad_rows` drops such rows.
    """
    columns = find_columns(table.columns, config, table.name, labelled=False)
    for row in table.rows:
        problem = _row_problem(row, columns)
        if problem is None:
            yield _record(row, columns)
        elif not config.skip_bad_rows:
            check_problems(table.name, [f"{row.place} {problem}"], 1, row.number, config)


def check_problems(source: str, problems: list[str], count: int, kept: int, config: DataConfig) -> None:
    """Raise for bad rows unless they are to be skipped, and when no row is left.

    Raises:
        DataError: names the first rows, what is wrong with each, and how many there are.
    """
    if count and not config.skip_bad_rows:
        more = f"; {count - len(problems)} more" if count > len(problems) else ""
        rows = "1 row" if count == 1 else f"{count} rows"
        remedy = "Correct them, or drop them with --skip-bad-rows."
        raise DataError(f"{source}: {rows} cannot be used: {'; '.join(problems)}{more}. {remedy}")
    if not kept:
        raise DataError(f"{source}: no usable row is left of {count}. Check the text and label columns.")


def text_problem(value: Any, name: str) -> str | None:
    """Return what is wrong with a text, or None."""
    if is_missing(value):
        return f"has no text in '{name}'"
    if not isinstance(value, str):
        return f"has non-string text in '{name}': {value!r:.40} ({type(value).__name__})"
    if not value.strip():
        return f"has an empty text in '{name}'"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"has an unpaired surrogate in '{name}'"
    return None


def is_missing(value: Any) -> bool:
    """Tell whether a value is absent: None, or NaN as JSON and Parquet hold missing numbers."""
    return value is None or (isinstance(value, float) and value != value)


def row_text(row: RawRow, columns: Columns) -> tuple[str, str | None] | str:
    """Return the text of a row and the second one of a pair, or what is wrong with them."""
    problem = _row_problem(row, columns)
    if problem is not None:
        return problem
    record = _record(row, columns)
    return record.text, record.pair


def _row_problem(row: RawRow, columns: Columns) -> str | None:
    problems = [text_problem(row.values.get(name), name) for name in columns.texts]
    if len(problems) > 1 and not columns.paired:
        empty = [is_missing(value) or (isinstance(value, str) and not value.strip()) for value in _texts(row, columns)]
        if not all(empty):  # of columns that are joined, some may be empty
            problems = [problem for problem, absent in zip(problems, empty, strict=True) if not absent]
    problem = next(filter(None, problems), None)
    if problem is None and columns.label is not None:
        value = row.values.get(columns.label)
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            return f"has no label in '{columns.label}'"
    return problem


def _texts(row: RawRow, columns: Columns) -> list[Any]:
    return [row.values.get(name) for name in columns.texts]


def _record(row: RawRow, columns: Columns) -> Record:
    values = _texts(row, columns)
    pair: str | None = None
    if len(values) == 1 or columns.paired:
        text, pair = values[0], values[1] if columns.paired else None
    else:
        text = " ".join(value.strip() for value in values if not is_missing(value) and value.strip())
    identifier = row.values.get(columns.id) if columns.id else None
    name = str(row.number) if is_missing(identifier) or identifier == "" else str(identifier)
    return Record(name, text, pair, row.number)


def _label_name(row: RawRow, columns: Columns, source: str, known: tuple[str, ...] | None) -> str:
    value = row.values[columns.label or ""]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return str(value).lower()
    if known is not None and isinstance(value, int) and 0 <= value < len(known):
        return known[value]
    if isinstance(value, int | str):
        return str(value).strip()
    raise DataError(
        f"{source}, {row.place}, column '{columns.label}': a label must be text, an integer or true/false. "
        f"Received: {value!r:.40} ({type(value).__name__}). Choose another --label."
    )
