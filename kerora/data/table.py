"""The common form of all file formats: column names and a stream of rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a file, with its values unchanged.

    Attributes:
        number: number of the data row, from 1.
        line: line in the file on which the row starts, from 1; None for formats without lines.
        values: the row's values by column name.
        problem: what is wrong with the row, if the reader of the format could not read it; else None.
    """

    number: int
    line: int | None
    values: Mapping[str, Any]
    problem: str | None = None

    @property
    def place(self) -> str:
        """The row as messages name it: ``row 3 (line 4)``."""
        return f"row {self.number}" if self.line is None else f"row {self.number} (line {self.line})"


@dataclass(frozen=True)
class Table:
    """An open data file.

    Attributes:
        name: name of the file in messages.
        columns: column names in the order of the file.
        rows: the rows. They can be read only once.
        class_names: names of integer labels by column, if the file itself has them.
        header: whether the names are the first line of a text file, which could also be a row.
        several: columns of labels of which a row can have none or several, as a tuple. One label is its text.
        tool: the annotation tool that wrote the file, or empty; see `kerora.data.annotations`.
    """

    name: str
    columns: tuple[str, ...]
    rows: Iterator[RawRow]
    class_names: Mapping[str, tuple[str, ...]]
    header: bool = False
    several: tuple[str, ...] = ()
    tool: str = ""
