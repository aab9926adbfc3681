"""What a task says of its data: a `RowReader`. Finding and walking a source is the same for all.

A source is walked in `kerora.data.sources`; for each of its parts (or shards of one) the row reader is given a table
or a file, and gives back the part's rows, and how many others were dropped. A new task writes a row reader, and its
data can be a file, a folder, what `kerora data save` wrote, a TFDS set, or the bundled one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from kerora.data.files import FORMATS_IN_WORDS, open_table
from kerora.data.rows import S
from kerora.data.table import RawRow, Table
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

SHOWN_ROWS = 5


@dataclass
class SourcePart(Generic[S]):
    """Rows of one part of a source, as they were read.

    Attributes:
        source: the file or data set, for messages.
        rows: the rows.
        skipped: bad rows that were dropped.
    """

    source: str
    rows: S
    skipped: int = 0

    def extend(self, other: Self) -> None:
        """Add the rows of another shard of the part."""
        self.rows.extend(other.rows)
        self.skipped += other.skipped


P = TypeVar("P", bound=SourcePart[Any])
P_co = TypeVar("P_co", bound=SourcePart[Any], covariant=True)


@dataclass(frozen=True)
class Found(Generic[P_co]):
    """The parts of a source before they are read.

    Attributes:
        parts: reads a part, by split; gives None where no row has a label.
        whole: the source has no parts: its one is taken whatever part is asked for.
        unsure: splits of which only reading tells whether they have rows.
    """

    parts: Mapping[str, Callable[[], P_co | None]]
    whole: bool = False
    unsure: tuple[str, ...] = ()


class RowReader(Protocol[P, S]):
    """How the rows of a task are read, and become the splits of a data set.

    A task says at least what `table`, `empty` and `settle` do; the rest has answers that fit tables.

    Attributes:
        endings: of text files that are looked for in folders, such as ``.txt``; tables always are.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def table(self, table: Table, config: DataConfig) -> P:
        """Read all rows of a table; see `read_table`.

        Raises:
            DataError: a column is missing, or rows cannot be used.
        """

    def empty(self, source: str) -> P:
        """Return a part without rows: one to add to, or one that is there and is not to be read."""

    def settle(self, parts: Mapping[str, P], config: DataConfig) -> tuple[tuple[str, ...], dict[str, S]]:
        """Return the class names (none where there are no classes), and the splits in their final form.

        Args:
            parts: the parts by split, ``train`` among them.
            config: the data's settings.

        Raises:
            DataError: the parts do not fit one another or the settings.
        """

    def file(self, path: Path, name: str, config: DataConfig) -> P:
        """Read a file whole.

        Args:
            path: the file.
            name: what ids call it.
            config: columns and formats.

        Raises:
            DataError: it is missing, of an unknown format, or cannot be used.
        """
        with open_table(path, config) as table:
            return self.table(table, config)

    def folder(self, folder: Path, config: DataConfig) -> Found[P]:
        """Find the parts of a folder without files named by split.

        Raises:
            DataError: there are none.
        """
        raise DataError(f"The folder {folder} holds no data set. It needs train and test files ({FORMATS_IN_WORDS}).")

    def saved(self, folder: Path, description: Mapping[str, Any]) -> Callable[[Path, str], P] | None:
        """Return what reads a file of a saved folder, given its path and split; None if it is read like others.

        Raises:
            DataError: the folder holds what this task has no use for.
        """
        return None

    def label_column(self, columns: Sequence[str], config: DataConfig, place: str) -> str | None:
        """Return the column without whose value a row of a TFDS set is left out, or None.

        Raises:
            DataError: it is missing.
        """
        return None


def read_table(table: Table, part: P, add: Callable[[RawRow], str | None], config: DataConfig) -> P:
    """Read all rows of a table into a part.

    Args:
        table: the rows.
        part: the part, still empty.
        add: adds a row to the part and returns None, or returns what is wrong with it.
        config: whether bad rows are dropped.

    Raises:
        DataError: see `collect`.
    """
    outcomes = ((row, add(row)) for row in table.rows)
    return collect(part, (problem and f"{row.place} {problem}" for row, problem in outcomes), config)


def collect(part: P, outcomes: Iterable[str | None], config: DataConfig) -> P:
    """Count bad rows, and refuse them unless they are to be dropped.

    Args:
        part: the part, to which the outcomes add the good rows as they come.
        outcomes: None for each good row, else where the row is and what is wrong with it.
        config: whether bad rows are dropped.

    Raises:
        DataError: names the first bad rows and counts all; or no row is left.
    """
    problems: list[str] = []
    for problem in outcomes:
        if problem is not None:
            part.skipped += 1
            problems += [problem] if len(problems) < SHOWN_ROWS else []
    check_problems(part.source, problems, part.skipped, len(part.rows), config)
    return part


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
