"""Takes texts and identifiers from the rows of tables and checks every value. Labels are still names here."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from kerora.data.bad_rows import BadRow, BadRows, write_bad_rows
from kerora.data.columns import Columns, find_columns
from kerora.data.row_reader import SourcePart, check_problems
from kerora.data.rows import Rows
from kerora.data.table import RawRow, Table
from kerora.settings.fit import DataConfig

S = TypeVar("S", bound=Rows[Any])


@dataclass(frozen=True, slots=True)
class Record:
    """One unlabelled row, as prediction reads it.

    Attributes:
        id: the id column's value, or the row number as text.
        text: the text; the first sentence of a pair.
        pair: the second sentence of a pair, or None.
        row_number: number of the data row from 1; for plain text the number of the line.
        problem: what is wrong with the row; None for a row with a text.
    """

    id: str
    text: str
    pair: str | None
    row_number: int
    problem: str | None = None


@dataclass
class TargetRows(SourcePart[S]):
    """Rows of one part, each with a target.

    Attributes:
        unlabelled: if no row has a target, the reason in words; the rows then have no targets.
    """

    unlabelled: str | None = None

    @property
    def has_targets(self) -> bool:
        """Whether a row with a target was added."""
        return bool(self.rows.targets)


@dataclass
class LabelledRows(TargetRows[Rows[str]]):
    """Rows of one part whose labels are still names, in the form of `kerora.data.labels.label_of`.

    Attributes:
        first_seen: place of the first row with each label, for messages.
        classes: all class names in order, if the source itself has them; else None.
        values: for data that was saved with renamed classes, the original label of each of `classes`.
    """

    first_seen: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    values: tuple[str, ...] | None = None

    def append(self, record: Record, label: str, place: str) -> None:
        """Add a row. `place` says where it is in the source, such as ``row 3 (line 4)``."""
        self.first_seen.setdefault(label, place)
        # All rows of a class share one string object, which saves memory.
        self.rows.append(record.text, record.id, sys.intern(label), record.pair)

    def extend(self, other: Self) -> None:
        """Add the rows of another shard of the part."""
        super().extend(other)
        for label, place in other.first_seen.items():
            # `source` of the part is its first shard, so a place in another shard needs the name of that shard.
            self.first_seen.setdefault(label, f"{Path(other.source).name} {place}")


def read_records(
    table: Table, config: DataConfig, bad: BadRows | None = None, keep_bad: bool = False
) -> Iterator[Record]:
    """Stream the texts of a table. Label columns are ignored.

    Args:
        table: the rows.
        config: columns, and whether bad rows are skipped.
        bad: counts the rows that are skipped.
        keep_bad: whether to yield skipped rows as records with a `problem`, if they have been read at all.

    Raises:
        DataError: a text column is missing. While the rows are read: a text is empty or not a string, and
            `skip_bad_rows` is not set; or no row is left.
    """
    # labelled=False: files to predict need no label column.
    columns = find_columns(table.columns, config, table.name, labelled=False, header=table.header)
    bad = BadRows() if bad is None else bad
    before, kept = bad.count, 0
    for row in table.rows:
        problem = row.problem or row_problem(row, columns)
        if problem is None:
            kept += 1
            yield record_of(row, columns)
            continue
        bad.add(table.name, BadRow(row.place, problem))
        # At once and not at the end of the file: the rows before it have already gone to the caller.
        if not config.skip_bad_rows:
            write_bad_rows(config.bad_rows, [bad])
            check_problems(table.name, [f"{row.place} {problem}"], 1, row.number, config)
        # A row that the format reader could not read has no identifier, so no output line can be written for it.
        elif keep_bad and row.problem is None:
            kept += 1
            yield Record(identifier_of(row, columns.id), "", None, row.number, problem)
    if bad.count > before:
        check_problems(table.name, [], bad.count - before, kept, config)


def text_problem(value: Any, name: str) -> str | None:
    """Return a description of what is wrong with a text, or None."""
    if is_missing(value):
        return f"has no text in '{name}'"
    if not isinstance(value, str):
        return f"has non-string text in '{name}': {value!r:.40} ({type(value).__name__})"
    if not value.strip():
        return f"has an empty text in '{name}'"
    try:
        # JSON can hold half of a surrogate pair, such as "\ud800". The tokenizers take only valid Unicode.
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"has an unpaired surrogate in '{name}'"
    return None


def is_missing(value: Any) -> bool:
    """Tell whether a value is absent: None, or NaN, which JSON and Parquet files use for missing numbers."""
    # NaN is the only float that differs from itself.
    return value is None or (isinstance(value, float) and value != value)


def row_problem(row: RawRow, columns: Columns) -> str | None:
    """Return a description of what is wrong with the texts of a row, or None."""
    problems = [text_problem(row.values.get(name), name) for name in columns.texts]
    if len(problems) > 1 and not columns.paired:
        empty = [is_missing(value) or (isinstance(value, str) and not value.strip()) for value in _texts(row, columns)]
        if not all(empty):  # Some of the columns may be empty if they are joined to one text.
            problems = [problem for problem, absent in zip(problems, empty, strict=True) if not absent]
    return next(filter(None, problems), None)


def record_of(row: RawRow, columns: Columns) -> Record:
    """Return the text, the second sentence of a pair, and the identifier of a row that `row_problem` accepts."""
    values = _texts(row, columns)
    pair: str | None = None
    if len(values) == 1 or columns.paired:
        text, pair = values[0], values[1] if columns.paired else None
    else:
        text = " ".join(value.strip() for value in values if not is_missing(value) and value.strip())
    return Record(identifier_of(row, columns.id), text, pair, row.number)


def identifier_of(row: RawRow, column: str | None) -> str:
    """Return the identifier of a row, or its number if it has none."""
    value = row.values.get(column) if column else None
    # The id column may have gaps. Each output line still needs a name.
    return str(row.number) if is_missing(value) or value == "" else str(value)


def _texts(row: RawRow, columns: Columns) -> list[Any]:
    return [row.values.get(name) for name in columns.texts]
