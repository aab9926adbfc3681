"""Reads unlabelled rows for a run: columns as in its training, a bounded number of rows at a time."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from kerora.data.bad_rows import BadRows, check_bad_rows_path
from kerora.data.extract import Record
from kerora.data.rows import Rows
from kerora.errors import DataError
from kerora.lora.files import read_adapter_config
from kerora.places import expanded
from kerora.runfolder import RunFolder
from kerora.settings.fit import DataConfig
from kerora.settings.resolve import resolve, to_dict

POOL_BATCHES = 16  # batches whose rows are sorted by length together
POOL_CHARACTERS = 4_000_000  # a pool ends with the row that reaches this number


def input_config(
    of_the_run: DataConfig, settings: Mapping[str, Any], is_file: bool, filled: bool = False
) -> DataConfig:
    """Return the settings that read new rows: the given ones, else the columns of the run.

    Args:
        of_the_run: the settings of the data of the run.
        settings: dotted ``data.`` settings.
        is_file: whether the rows are in a file, and not in a stream.
        filled: whether bad rows are kept, to be filled with a label.
    """
    trained = to_dict(of_the_run)
    is_table = is_file or settings.get("data.format") in ("csv", "tsv")
    # `columns` and `delimiter` only for a table: with them, a stream of plain text would be read as CSV
    kept = ["text", "text_join", "id", "skip_bad_rows", *(["columns", "delimiter"] if is_table else [])]
    skip = {"data.skip_bad_rows": True} if filled else {}
    return resolve({f"data.{key}": trained[key] for key in kept}, settings, skip).data


def empty_count(given: BadRows | None, config: DataConfig) -> BadRows:
    """Return the count of bad rows, and check that their list can be written, before a model is loaded."""
    if config.bad_rows is not None:
        check_bad_rows_path(expanded(config.bad_rows))
    bad = BadRows() if given is None else given
    bad.keep = config.bad_rows is not None
    return bad


def check_pairs(run: RunFolder, first: Record | None) -> None:
    """Check that rows are pairs if the run was trained on pairs. `first` is the first row, if there is one.

    Raises:
        DataError: the rows have one text each.
    """
    single = first is not None and first.problem is None and first.pair is None
    if single and read_adapter_config(run.adapter).get("kerora", {}).get("pairs"):
        raise DataError(
            f"{run.path} was trained on pairs, but the input has one text per row. Name two columns with --text."
        )


def pools(records: Iterator[Record], batch_size: int) -> Iterator[list[Record]]:
    """Yield the records in lists. Rows of similar length in a list share a batch, and the memory stays bounded."""
    while pool := _pool(records, batch_size * POOL_BATCHES):
        yield pool


def rows_of(records: list[Record]) -> Rows[Any]:
    """Return records without problems as rows."""
    pairs = [record.pair or "" for record in records] if records and records[0].pair is not None else None
    return Rows([record.text for record in records], [record.id for record in records], pairs=pairs)


def _pool(records: Iterator[Record], most: int) -> list[Record]:
    pool: list[Record] = []
    characters = 0
    for record in itertools.islice(records, most):
        pool.append(record)
        characters += len(record.text) + len(record.pair or "")
        # After the append: a record that was taken must not be lost.
        if characters >= POOL_CHARACTERS:
            break
    return pool
