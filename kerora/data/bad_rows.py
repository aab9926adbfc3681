"""Rows that cannot be used: their count by reason, and a list of them as a file."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from kerora.errors import DataError
from kerora.notices import renamed
from kerora.places import expanded
from kerora.runfolder import atomic_file

COLUMNS = ("file", "place", "problem")
# Enough for the usual faults: the list stands in one line of output.
SHOWN_REASONS = 4


class BadRow(NamedTuple):
    """A row that cannot be used.

    Attributes:
        place: where the row is: ``row 3 (line 4)``.
        problem: what is wrong with it: ``has an empty text in 'text'``. The reason stands before the first ``: ``.
    """

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place} {self.problem}"


@dataclass
class BadRows:
    """The bad rows of a file.

    Attributes:
        keep: whether to keep every row for the list. Otherwise only their count is kept.
        count: number of rows.
        reasons: number of rows by reason.
        listed: file and row of each, if `keep` is set.
    """

    # A file can have millions of bad rows, so they are kept only for --bad-rows.
    keep: bool = False
    count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    listed: list[tuple[str, BadRow]] = field(default_factory=list)

    def add(self, source: str, row: BadRow) -> None:
        """Count a row."""
        self.count += 1
        # Values of the row stand behind the colon. With them, each row would be a reason of its own.
        self.reasons[row.problem.partition(": ")[0]] += 1
        if self.keep:
            self.listed.append((source, row))

    def extend(self, other: Self) -> None:
        """Add the rows of another file."""
        self.count += other.count
        self.reasons.update(other.reasons)
        self.listed += other.listed


def by_reason(reasons: Mapping[str, int]) -> str:
    """Return the reasons and their counts: ``has an empty text in 'text': 2, is not valid JSON: 1``."""
    most = sorted(reasons.items(), key=lambda item: -item[1])
    words = [f"{reason}: {count:,}" for reason, count in most[:SHOWN_REASONS]]
    rest = sum(count for _, count in most[SHOWN_REASONS:])
    return ", ".join([*words, *([f"other reasons: {rest:,}"] if rest else [])])


def write_bad_rows(path: Path | str | None, found: Iterable[BadRows]) -> None:
    """Write the list of bad rows as CSV, if a path is given. An earlier list is replaced, but no other file.

    Raises:
        DataError: the path is another file.
        RunError: the file cannot be written.
    """
    if path is None:
        return
    target = expanded(path)
    # A mistyped path can be that of the data itself. Only a list with the header of such lists is replaced.
    check_bad_rows_path(target)
    with atomic_file(target) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for rows in found:
            # rows in memory are read from a temporary file, which nobody knows
            writer.writerows((renamed(source), *row) for source, row in rows.listed)


def check_bad_rows_path(path: Path) -> None:
    """Check that a list of bad rows can be written without the loss of another file.

    Raises:
        DataError: the path is a folder, or a file that is no list of bad rows.
    """
    if not path.exists():
        return
    try:
        # The path can name any file, also a binary one. Its bytes must not raise a UnicodeDecodeError here.
        with path.open(encoding="utf-8", errors="replace") as stream:
            first = stream.readline().rstrip("\n")
    except OSError as error:
        raise DataError(f"Cannot write the bad rows to {path}: {error.strerror}. Choose another file.") from error
    if first != ",".join(COLUMNS):
        raise DataError(f"{path} exists and is no list of bad rows. Choose another file with --bad-rows.")
