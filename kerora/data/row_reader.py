"""The interface between a task and its data: `RowReader`.

`kerora.data.sources` finds the parts of a source in the same way for all tasks. It gives each part, or each shard of
a part, to the row reader as a table or a file. The row reader returns the rows and the number of rows it dropped. A
new task needs only a row reader. Its data can then be a file, a folder, a folder that `kerora data save` wrote, a TFDS
data set or the bundled data set.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from kerora.data.bad_rows import BadRow, BadRows, write_bad_rows
from kerora.data.files import FORMATS_IN_WORDS, open_table
from kerora.data.rows import S
from kerora.data.table import RawRow, Table
from kerora.data.trained_columns import TrainedColumns
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

# An error is one line. --bad-rows lists all rows.
SHOWN_ROWS = 5


@dataclass
class SourcePart(Generic[S]):
    """Rows of one part of a source, as read.

    Attributes:
        source: the file or data set, for messages.
        rows: the rows.
        bad: bad rows that were dropped.
        columns: the columns of a table; None for other sources.
    """

    source: str
    rows: S
    bad: BadRows = field(default_factory=BadRows)
    columns: TrainedColumns | None = None

    @property
    def skipped(self) -> int:
        """Number of bad rows that were dropped."""
        return self.bad.count

    def extend(self, other: Self) -> None:
        """Add the rows of another shard of the part."""
        self.rows.extend(other.rows)
        self.bad.extend(other.bad)


@dataclass(frozen=True)
class Settled(Generic[S]):
    """The splits of a data set in their final form.

    Attributes:
        splits: the rows by split.
        classes: the class names; empty for a task without classes.
        values: the label of each class in the source; empty for a task without classes.
        unlabelled: the rows of a test part without labels; it is not one of `splits`.
    """

    splits: dict[str, S]
    classes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    unlabelled: S | None = None


P = TypeVar("P", bound=SourcePart[Any])
P_co = TypeVar("P_co", bound=SourcePart[Any], covariant=True)


@dataclass(frozen=True)
class Found(Generic[P_co]):
    """The parts of a source before they are read.

    Attributes:
        parts: by split, a function that reads the part. It returns None if no row has a label.
        whole: whether the source has only one part, which is used for every split.
        unsure: splits that must be read to find out whether they have rows.
    """

    parts: Mapping[str, Callable[[], P_co | None]]
    whole: bool = False
    unsure: tuple[str, ...] = ()


class RowReader(Protocol[P, S]):
    """Reads the rows of a task and makes the splits of a data set from them.

    A task must define `table`, `empty` and `settle`. The defaults of the other methods suit tables.

    Attributes:
        endings: endings of text files to look for in folders, such as ``.txt``, in addition to tables.
    """

    endings: ClassVar[tuple[str, ...]] = ()

    def table(self, table: Table, config: DataConfig) -> P:
        """Read all rows of a table; see `read_table`.

        Raises:
            DataError: a column is missing, or rows cannot be used.
        """

    def empty(self, source: str) -> P:
        """Return a part without rows: to add rows to, or in place of a part that is not read."""

    def settle(self, parts: Mapping[str, P], config: DataConfig) -> Settled[S]:
        """Return the splits in their final form, and the classes if the task has some.

        Args:
            parts: the parts by split; ``train`` is one of them.
            config: the settings of the data.

        Raises:
            DataError: the parts do not fit each other or the settings.
        """

    def file(self, path: Path, name: str, config: DataConfig) -> P:
        """Read a whole file.

        Args:
            path: the file.
            name: name of the file in ids.
            config: columns and formats.

        Raises:
            DataError: the file is missing, has an unknown format, or cannot be used.
        """
        with open_table(path, config) as table:
            return self.table(table, config)

    def folder(self, folder: Path, config: DataConfig) -> Found[P]:
        """Find the parts of a folder that has no files named by split.

        Raises:
            DataError: the folder has no parts.
        """
        raise DataError(f"The folder {folder} holds no data set. It needs train and test files ({FORMATS_IN_WORDS}).")

    def saved(self, folder: Path, description: Mapping[str, Any]) -> Callable[[Path, str], P] | None:
        """Return a function that reads a file of a saved folder from its path and split; None to read it as a table.

        Raises:
            DataError: the folder holds data that this task cannot use.
        """
        return None

    def label_column(self, columns: Sequence[str], config: DataConfig, place: str) -> str | None:
        """Return the label column, or None. A row of a TFDS data set without a label is left out.

        Raises:
            DataError: the column is missing.
        """
        return None


def read_table(table: Table, part: P, add: Callable[[RawRow], str | None], config: DataConfig) -> P:
    """Read all rows of a table into a part.

    Args:
        table: the rows.
        part: the part, empty at first.
        add: adds a row to the part and returns None, or returns a description of what is wrong with the row.
        config: says whether bad rows are dropped.

    Raises:
        DataError: see `collect`.
    """
    # Lazy: `add` runs while `collect` counts, so a table of any size is read once.
    outcomes = ((row, row.problem or add(row)) for row in table.rows)
    return collect(part, (BadRow(row.place, problem) if problem else None for row, problem in outcomes), config)


def collect(part: P, outcomes: Iterable[BadRow | None], config: DataConfig) -> P:
    """Count bad rows, and raise an error for them unless the settings drop them.

    Args:
        part: the part. The iteration over `outcomes` adds the good rows to it.
        outcomes: None for each good row; for a bad row its place and what is wrong with it.
        config: says whether bad rows are dropped, and where a list of them goes.

    Raises:
        DataError: there are bad rows (the error names the first ones and gives the count), or no row is left.
    """
    # Before the iteration, because the rows are counted during it.
    part.bad.keep = config.bad_rows is not None
    problems: list[str] = []
    for problem in outcomes:
        if problem is not None:
            part.bad.add(part.source, problem)
            problems += [str(problem)] if len(problems) < SHOWN_ROWS else []
    if part.bad.count and not config.skip_bad_rows:
        # Before the error, because the list is needed most when the rows cannot be used.
        write_bad_rows(config.bad_rows, [part.bad])
    check_problems(part.source, problems, part.bad.count, len(part.rows), config)
    return part


def check_problems(source: str, problems: list[str], count: int, kept: int, config: DataConfig) -> None:
    """Raise an error if there are bad rows and the settings do not drop them, or if no row is left.

    Raises:
        DataError: gives the first bad rows, what is wrong with each, and their count.
    """
    if count and not config.skip_bad_rows:
        more = f"; {count - len(problems)} more" if count > len(problems) else ""
        rows = "1 row" if count == 1 else f"{count} rows"
        remedy = "Correct them, or drop them with --skip-bad-rows."
        raise DataError(f"{source}: {rows} cannot be used: {'; '.join(problems)}{more}. {remedy}")
    if not kept:
        raise DataError(f"{source}: no usable row is left of {count}. Check the text and label columns.")
