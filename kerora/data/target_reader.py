"""Reads texts with what a model learns about them, from any source: the base of the readers of labelled rows."""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from kerora.data.bad_rows import BadRow
from kerora.data.columns import Columns, find_columns
from kerora.data.extract import Record, TargetRows, is_missing, record_of, row_problem
from kerora.data.row_reader import RowReader, read_table
from kerora.data.rows import Rows
from kerora.data.table import RawRow, Table
from kerora.data.trained_columns import TrainedColumns
from kerora.errors import DataError
from kerora.notices import notice
from kerora.settings.fit import DataConfig

P = TypeVar("P", bound=TargetRows[Any])
S = TypeVar("S", bound=Rows[Any])


class TargetReader(RowReader[P, S]):
    """Reads texts with their targets. A subclass says which columns and values are targets."""

    @abstractmethod
    def check_columns(self, columns: Columns, place: str) -> None:
        """Check the label columns.

        Raises:
            DataError: the task cannot learn from these columns.
        """

    @abstractmethod
    def target_problem(self, row: RawRow, columns: Columns) -> str | None:
        """Return a description of what is wrong with the target of a row, or None."""

    @abstractmethod
    def add(self, part: P, record: Record, row: RawRow, columns: Columns) -> None:
        """Add a row without problems to a part.

        Raises:
            DataError: the whole column is of the wrong kind.
        """

    def begin(self, part: P, table: Table, columns: Columns) -> None:
        """Take what a table knows about its targets, before the first row. Default: nothing."""

    def mark_hidden(self, test: P, train: P) -> None:
        """Mark a test part as unlabelled if its targets stand for hidden ones. Default: no target does."""

    def table(self, table: Table, config: DataConfig) -> P:
        """Read all rows of a table. If no row has a target, the part says so, and its rows have no targets.

        Raises:
            DataError: a column is missing. Texts or targets are empty or of the wrong type; the error gives the row
                numbers and the count, and with `skip_bad_rows` such rows are dropped and counted instead. No row
                is left.
        """
        if table.tool:
            config = _of_export(table, config)
        try:
            columns = find_columns(table.columns, config, table.name, header=table.header)
        # A file without a label column can still be the test part of a competition.
        except DataError as error:
            return self._without_column(table, config, error)
        self.check_columns(columns, table.name)
        # `waiting` holds the rows in case no row of the table has a target.
        part, waiting = self.empty(table.name), self.empty(table.name)
        self.begin(part, table, columns)
        part.columns = waiting.columns = TrainedColumns(columns.texts, columns.labels, columns.id, columns.paired)
        # Tells "no row has a target" from an error in the middle of the file, after which targets could follow.
        ended = False

        def rows() -> Iterator[RawRow]:
            nonlocal ended
            for row in table.rows:
                problem = row.problem or row_problem(row, columns)
                if problem is not None:
                    # Damage and bad texts count in both readings, with targets and without.
                    waiting.bad.add(table.name, BadRow(row.place, problem))
                    row = dataclasses.replace(row, problem=problem)
                yield row
            ended = True

        def add(row: RawRow) -> str | None:
            problem = self.target_problem(row, columns)
            if problem is None:
                self.add(part, record_of(row, columns), row, columns)
            # Once a target was seen, a row without one is bad, and `waiting` is not needed.
            elif not part.has_targets:
                _append(waiting, record_of(row, columns))
            return problem

        try:
            return read_table(dataclasses.replace(table, rows=rows()), part, add, config)
        except DataError as error:
            # Then the error is about texts, and must be shown although there are no targets either.
            bad_texts = waiting.skipped and not config.skip_bad_rows
            if part.has_targets or not ended or not len(waiting.rows) or bad_texts:
                raise
            waiting.unlabelled = str(error)
            return waiting

    def _without_column(self, table: Table, config: DataConfig, reason: DataError) -> P:
        """Read a table without a label column; `reason` says which column is missing."""
        try:
            columns = find_columns(table.columns, config, table.name, labelled=False)
        # The text column is missing too. The first error names the column that the user must give.
        except DataError:
            raise reason from None
        part = self.empty(table.name)
        part.unlabelled = str(reason)
        part.columns = TrainedColumns(columns.texts, (), columns.id, columns.paired)

        def add(row: RawRow) -> str | None:
            problem = row_problem(row, columns)
            if problem is None:
                _append(part, record_of(row, columns))
            return problem

        try:
            return read_table(table, part, add, config)
        except DataError:
            # if no text can be used either, the missing label column is what the user must hear of
            if len(part.rows):
                raise
            raise reason from None

    def take_unlabelled(self, parts: dict[str, P]) -> P | None:
        """Remove the test part from the parts if it has no targets, and return it.

        Raises:
            DataError: another part has no targets.
        """
        for split, part in parts.items():
            # Only the test part can be predicted instead of evaluated.
            if part.unlabelled is not None and split != "test":
                raise DataError(part.unlabelled)
        train, test = parts["train"], parts.get("test")
        if test is None:
            return None
        self.mark_hidden(test, train)
        if test.unlabelled is None:
            return None
        # Without a label column the text is found among more columns, so another one may be found.
        if _names(test) != _names(train):
            raise DataError(
                f"{test.source} has no labels, and its text would be read from {', '.join(_names(test))}, but that of "
                f"{train.source} from {', '.join(_names(train))}. Name the same text columns in both, or use --text."
            )
        notice(
            f"{test.source} has no labels, so its {len(test.rows):,} rows are not evaluated. `kerora fit` predicts "
            "them after the training and writes submission.csv."
        )
        return parts.pop("test")

    def label_column(self, columns: Sequence[str], config: DataConfig, place: str) -> str | None:
        """Return the label column.

        Raises:
            DataError: it is missing, or there is no text column.
        """
        return find_columns(columns, config, place).label


def missing_value(row: RawRow, column: str) -> str | None:
    """Return that a row has no value in a label column, or None if it has one."""
    value = row.values.get(column)
    # an empty tuple is a line of fastText without a label
    empty = not value.strip() if isinstance(value, str) else isinstance(value, tuple) and not value
    absent = empty or is_missing(value)
    return f"has no label in '{column}'" if absent else None


def without_targets(part: TargetRows[Any]) -> Rows[Any]:
    """Return the rows of a part without their targets."""
    return Rows(part.rows.texts, part.rows.ids, pairs=part.rows.pairs)


def check_pairs(parts: Mapping[str, TargetRows[Any]]) -> None:
    """Check that the parts of a data set hold single texts alone, or pairs alone.

    Raises:
        DataError: one part holds pairs and another one single texts.
    """
    pairs = {split: part.rows.pairs is not None for split, part in parts.items() if len(part.rows)}
    for split, paired in pairs.items():
        if paired != pairs["train"]:
            kinds = ("single texts", "sentence pairs")
            raise DataError(
                f"{parts[split].source} holds {kinds[paired]}, but {parts['train'].source} holds {kinds[not paired]}. "
                "Name the text columns with --text."
            )


def _names(part: TargetRows[Any]) -> list[str]:
    return [name.strip().lower() for name in part.columns.texts] if part.columns else []


def _append(part: TargetRows[Any], record: Record) -> None:
    part.rows.append(record.text, record.id, pair=record.pair)


def _of_export(table: Table, config: DataConfig) -> DataConfig:
    """Return settings that read the export of an annotation tool. The columns of other files do not apply to it."""
    texts = tuple(name for name in ("text", "pair") if name in table.columns) or config.text
    return dataclasses.replace(
        config, text=texts, text_join="auto" if len(texts) < 2 else "pair", label=("label",), id="id"
    )
