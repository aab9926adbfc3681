"""A first look at a source: whether its rows have several labels each."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kerora.data.columns import find_columns
from kerora.data.label_sets import column_problem, is_set
from kerora.data.row_reader import RowReader, Settled, SourcePart
from kerora.data.rows import SETS, Rows
from kerora.data.sources import find_source
from kerora.data.table import Table
from kerora.errors import KeroraError, quoted
from kerora.notices import muted
from kerora.places import listed_files
from kerora.settings.fit import DataConfig

FIRST_ROWS = 1000
"""Rows that are looked at."""


class _Look(RowReader[SourcePart[Rows[Any]], Rows[Any]]):
    """Looks at the first rows of a table.

    Attributes:
        reason: why the rows have several labels each, in words; empty if they do not seem to.
    """

    def __init__(self) -> None:
        self.reason = ""

    def table(self, table: Table, config: DataConfig) -> SourcePart[Rows[Any]]:
        labels = find_columns(table.columns, config, table.name, header=table.header).labels
        rows = [row.values for row in itertools.islice(table.rows, FIRST_ROWS) if row.problem is None]
        if len(labels) > 1:
            # a value that is missing, or a single wrong one, is for the reader to report
            good = sum(column_problem(row, labels) is None for row in rows)
            self.reason = f"--label names {len(labels)} columns of 0 and 1" if good * 2 > len(rows) else ""
            return self.empty(table.name)
        found = next((value for row in rows if is_set(value := row.get(labels[0])) and value != ()), None)
        if found is not None:
            what = "lines with several labels" if labels[0] in table.several else f"lists, such as {found!s:.40}"
            self.reason = f"the label column {quoted(labels)} holds {what}"
        return self.empty(table.name)

    def empty(self, source: str) -> SourcePart[Rows[Any]]:
        return SourcePart(source, Rows([], []))

    def settle(self, parts: Mapping[str, SourcePart[Rows[Any]]], config: DataConfig) -> Settled[Rows[Any]]:
        raise NotImplementedError("only the first rows are looked at")

    def saved(self, folder: Path, description: Mapping[str, Any]) -> Callable[[Path, str], SourcePart[Rows[Any]]]:
        self.reason = "it was saved with several labels" if description.get("form") == SETS else ""
        return partial(self._saved_part)

    def _saved_part(self, path: Path, split: str) -> SourcePart[Rows[Any]]:
        return self.empty(str(path))


def several_labels_reason(config: DataConfig) -> str:
    """Return why the training rows of a source have several labels each, in words; empty if they do not seem to.

    Only the first 1,000 rows are looked at. A source that cannot be read has no reason: the reader of the task says
    what is wrong with it.
    """
    if config.label_separator is not None:
        return "--label-separator is given"
    look = _Look()
    try:
        with muted():
            for spec in listed_files(config.train or config.source):
                found = find_source(spec, config, look)
                part = found.parts.get("train") or next(iter(found.parts.values()), None)
                # The first file with several labels decides.
                if part is not None and not look.reason:
                    part()
    except (KeroraError, OSError):
        return ""
    return look.reason
