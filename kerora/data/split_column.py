"""Files whose rows say in a column to which part they belong, such as ``split`` with ``train`` and ``test``."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kerora.data.column_names import column_by_name, plain_name
from kerora.data.extract import is_missing
from kerora.data.files import is_table, open_table
from kerora.data.row_reader import P, RowReader
from kerora.data.rows import S
from kerora.data.split_names import SPLIT_NAMES, in_order
from kerora.data.table import RawRow
from kerora.errors import DataError, quoted
from kerora.notices import notice
from kerora.settings.fit import DataConfig

COLUMNS = ("split", "data_split", "dataset_split", "partition", "subset", "set")


def find_split_column(path: Path, config: DataConfig) -> tuple[str, list[str]] | None:
    """Return the column that divides the rows of a file and the parts in it, or None if there is no such column.

    Args:
        path: the file.
        config: columns and formats. A column that they name as text, label or id divides nothing.

    Raises:
        DataError: some rows name a part and others do not, or the file cannot be read.
    """
    if not path.is_file() or not is_table(path, config):
        return None
    with open_table(path, config) as table:
        column = column_by_name(table.columns, COLUMNS)
        used = [plain_name(name) for name in (*config.text, *config.label, config.id) if name]
        if column is None or plain_name(column) in used:
            return None
        # A row that cannot be read has no value. Its problem is reported when the part is read.
        values = Counter(_value(row, column) for row in table.rows if row.problem is None)
    counts: Counter[str] = Counter()
    for value, count in values.items():
        counts[SPLIT_NAMES.get(value, "")] += count
    # One part alone divides nothing, and other words can be anything, such as the halves of a match.
    if len([split for split in counts if split]) < 2:
        return None
    others = [value for value in values if value not in SPLIT_NAMES]
    if others:
        raise DataError(
            f"{path}: the column '{column}' names parts ({', '.join(in_order(counts))}), but also {quoted(others, 5)}. "
            "Correct these values, or rename the column if all rows are one part."
        )
    splits = in_order(counts)
    listed = ", ".join(f"{counts[split]:,} {split}" for split in splits)
    notice(f"{path}: the column '{column}' divides the rows: {listed}.")
    return column, splits


def read_rows_of(path: Path, column: str, splits: Sequence[str], config: DataConfig, reader: RowReader[P, S]) -> P:
    """Read the rows of a file that name a part in the column of the parts.

    Args:
        path: the file.
        column: the column.
        splits: the part, then all parts of the file.
        config: columns and formats.
        reader: reads the rows.

    Raises:
        DataError: the rows cannot be used.
    """
    split, *every = splits
    with open_table(path, config) as table:
        # No column of the parts afterwards: it must not be taken for the text or the label.
        columns = tuple(name for name in table.columns if name != column)
        rows = (
            row
            for row in table.rows
            # A row that cannot be read names no part. It counts once, in the first one.
            if (split == every[0] if row.problem is not None else SPLIT_NAMES.get(_value(row, column)) == split)
        )
        return reader.table(dataclasses.replace(table, columns=columns, rows=rows), config)


def _value(row: RawRow, column: str) -> str:
    value = row.values.get(column)
    return "" if is_missing(value) else str(value).strip().lower()
