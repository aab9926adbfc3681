"""Reader of labelled rows: single texts or sentence pairs, each with a class, from any source."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kerora.data.bad_rows import BadRow
from kerora.data.classes import choose_classes, numbered, numbers_of, original_values
from kerora.data.columns import find_columns
from kerora.data.extract import LabelledRows, Record, is_missing, record_of, row_problem, text_problem
from kerora.data.files import FORMATS_IN_WORDS, open_table
from kerora.data.folders import class_folders, class_folders_by_split, text_files
from kerora.data.labels import is_list, label_of
from kerora.data.lines import open_lines
from kerora.data.row_reader import Found, RowReader, Settled, collect, read_table
from kerora.data.rows import Rows
from kerora.data.save import check_same
from kerora.data.table import RawRow, Table
from kerora.data.text_store import TextStore
from kerora.data.trained_columns import TrainedColumns
from kerora.errors import DataError, quoted
from kerora.notices import notice
from kerora.settings.fit import SPLITS, DataConfig

HIDDEN = "-1"
"""The label of rows whose labels are not published, in test parts of the Hugging Face hub and of TFDS."""


class LabelledReader(RowReader[LabelledRows, Rows[int]]):
    """Reads texts and their labels."""

    def table(self, table: Table, config: DataConfig) -> LabelledRows:
        """Read all rows of a table. If no row has a label, the part says so, and its rows have no targets.

        Raises:
            DataError: a column is missing. Texts or labels are empty or of the wrong type; the error gives the row
                numbers and the count, and with `skip_bad_rows` such rows are dropped and counted instead. No row
                is left.
        """
        try:
            columns = find_columns(table.columns, config, table.name, header=table.header)
        # A file without a label column can still be the test part of a competition.
        except DataError as error:
            return self._without_column(table, config, error)
        if len(columns.labels) > 1:
            raise DataError(
                f"{table.name}: --label names the columns {quoted(columns.labels)}, but a classifier learns one label "
                "for each text. Name one, or add --task multi-label or --task regression."
            )
        label = columns.label or ""
        # `waiting` holds the rows in case no row of the table has a label.
        part, waiting = self.empty(table.name), self.empty(table.name)
        part.classes = table.class_names.get(label)
        part.columns = waiting.columns = TrainedColumns(columns.texts, columns.labels, columns.id, columns.paired)
        # Tells "no row has a label" from an error in the middle of the file, after which labels could follow.
        ended = False

        def rows() -> Iterator[RawRow]:
            nonlocal ended
            for row in table.rows:
                problem = row.problem or row_problem(row, columns)
                if problem is not None:
                    # Damage and bad texts count in both readings, with labels and without.
                    waiting.bad.add(table.name, BadRow(row.place, problem))
                    row = dataclasses.replace(row, problem=problem)
                yield row
            ended = True

        def add(row: RawRow) -> str | None:
            problem = _label_problem(row, label)
            if problem is None:
                part.append(record_of(row, columns), _label_name(row, label, table.name, part.classes), row.place)
            # Once a label was seen, a row without one is bad, and `waiting` is not needed.
            elif not part.first_seen:
                _append(waiting, record_of(row, columns))
            return problem

        try:
            return read_table(dataclasses.replace(table, rows=rows()), part, add, config)
        except DataError as error:
            # Then the error is about texts, and must be shown although there are no labels either.
            bad_texts = waiting.skipped and not config.skip_bad_rows
            if part.first_seen or not ended or not len(waiting.rows) or bad_texts:
                raise
            waiting.unlabelled = str(error)
            return waiting

    def _without_column(self, table: Table, config: DataConfig, reason: DataError) -> LabelledRows:
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

    def folder(self, folder: Path, config: DataConfig) -> Found[LabelledRows]:
        """Find folders of ``.txt`` files, one folder for each class.

        They stand in folders named by split (``train/pos/1.txt``), or directly in `folder`, which is then one part.

        Raises:
            DataError: there is no such folder.
        """
        named = class_folders_by_split(folder)
        if named:
            return Found({split: partial(read_class_folders, path, config) for split, path in named.items()})
        if class_folders(folder):
            return Found({"train": partial(read_class_folders, folder, config)}, whole=True)
        raise DataError(
            f"The folder {folder} holds no data set. It needs train and test files ({FORMATS_IN_WORDS}), or a folder "
            "of .txt files for each class, such as train/pos/1.txt."
        )

    def label_column(self, columns: Sequence[str], config: DataConfig, place: str) -> str | None:
        """Return the label column.

        Raises:
            DataError: it is missing, or there is no text column.
        """
        return find_columns(columns, config, place).label

    def saved(self, folder: Path, description: Mapping[str, Any]) -> Callable[[Path, str], LabelledRows]:
        """Return a function that reads a saved file. It keeps all classes in their order, also classes without rows.

        Raises:
            DataError: the folder holds texts without labels. The returned function also raises it if a file differs
                from what was saved.
        """
        if "form" in description:
            raise DataError(f"{folder} holds texts for a language model, without labels. Add --task causal-lm.")
        return partial(self._saved, description)

    def _saved(self, description: Mapping[str, Any], path: Path, split: str) -> LabelledRows:
        saved, classes = description["splits"][split], tuple(description["classes"])
        values = tuple(description["values"]) if "values" in description else None
        if not saved["rows"]:
            return LabelledRows(str(path), Rows([], [], []), classes=classes, values=values)
        with open_table(path, DataConfig()) as table:
            texts = ("text", "pair") if "pair" in table.columns else ("text",)
            join = "pair" if len(texts) == 2 else "space"
            # The names are those of `objects`. The user's --text and --label are for other files.
            part = self.table(table, DataConfig(text=texts, text_join=join, label=("label",), id="id"))
        # From the description and not from the rows, so that a class without rows keeps its number.
        part.classes, part.values = classes, values
        if part.unlabelled is not None:
            check_same(path, part.rows, saved)
            return part
        check_same(path, numbered(part, numbers_of(classes, str(path)), "its classes"), saved)
        return part

    def empty(self, source: str) -> LabelledRows:
        """Return a part without rows."""
        return LabelledRows(source, Rows(TextStore(), TextStore()))

    def settle(self, parts: Mapping[str, LabelledRows], config: DataConfig) -> Settled[Rows[int]]:
        """Choose the classes from the training rows, and replace the labels of all parts by class numbers.

        Raises:
            DataError: a label is unknown, there are too few rows or classes, or one part holds single texts and
                another one pairs.
        """
        parts = dict(parts)  # a copy, because the unlabelled part is removed
        unlabelled = _take_unlabelled(parts)
        classes, numbers = choose_classes(parts["train"], config)
        if config.subset is not None and config.subset < len(classes):
            raise DataError(
                f"Setting 'subset' is {config.subset}, fewer rows than the {len(classes)} classes. Raise it."
            )
        # The unlabelled rows go through the same model, so they must have the same form.
        _check_pairs(parts if unlabelled is None else {**parts, "test": unlabelled})
        splits = [split for split in SPLITS if split in parts]
        numbered_splits = {split: numbered(parts[split], numbers, "the training rows") for split in splits}
        values = original_values(parts["train"], numbers)
        return Settled(numbered_splits, classes, values, None if unlabelled is None else _plain_rows(unlabelled))


def read_class_folders(folder: Path, config: DataConfig) -> LabelledRows:
    """Read ``CLASS/*.txt``. Each file is one text, the name of its folder is the label, and ``CLASS/FILE`` is the id.

    Raises:
        DataError: a text is empty or not UTF-8.
    """
    part = LabelledReader().empty(str(folder))

    def outcomes() -> Iterator[BadRow | None]:
        files = [path for class_folder in class_folders(folder) for path in text_files(class_folder)]
        for number, path in enumerate(files, 1):
            with open_lines(path, config.encoding) as lines:
                text = "".join(lines).strip()
            identifier = f"{path.parent.name}/{path.name}"
            empty = text_problem(text, path.name) is not None
            if not empty:
                label = label_of(path.parent.name) or ""
                part.append(Record(identifier, text, None, number), label, identifier)
            yield BadRow(identifier, "is empty") if empty else None

    return collect(part, outcomes(), config)


def _take_unlabelled(parts: dict[str, LabelledRows]) -> LabelledRows | None:
    """Remove the test part from the parts if it has no labels, and return it.

    Raises:
        DataError: another part has no labels.
    """
    for split, part in parts.items():
        # Only the test part can be predicted instead of evaluated.
        if part.unlabelled is not None and split != "test":
            raise DataError(part.unlabelled)
    train, test = parts["train"], parts.get("test")
    if test is None:
        return None
    mark_unlabelled(test, train.first_seen)
    if test.unlabelled is None:
        return None
    # Without a label column the text is found among more columns, so another one may be found.
    if _names(test) != _names(train):
        raise DataError(
            f"{test.source} has no labels, and its text would be read from {', '.join(_names(test))}, but that of "
            f"{train.source} from {', '.join(_names(train))}. Name the same text columns in both, or use --text."
        )
    notice(
        f"{test.source} has no labels, so its {len(test.rows):,} rows are not evaluated. `kerora fit` predicts them "
        "after the training and writes submission.csv."
    )
    return parts.pop("test")


def mark_unlabelled(part: LabelledRows, known: Collection[str]) -> None:
    """Mark a part whose only label is -1 as unlabelled, if -1 is not a known label. The hubs hide labels so."""
    # In a table with labels -1 and 1, -1 is a class.
    if set(part.first_seen) == {HIDDEN} and HIDDEN not in known:
        part.unlabelled = f"{part.source}: all labels are {HIDDEN}, which stands for no label."


def _names(part: LabelledRows) -> list[str]:
    return [name.strip().lower() for name in part.columns.texts] if part.columns else []


def _plain_rows(part: LabelledRows) -> Rows[int]:
    return Rows(part.rows.texts, part.rows.ids, pairs=part.rows.pairs)


def _append(part: LabelledRows, record: Record) -> None:
    part.rows.append(record.text, record.id, pair=record.pair)


def _check_pairs(parts: Mapping[str, LabelledRows]) -> None:
    pairs = {split: part.rows.pairs is not None for split, part in parts.items() if len(part.rows)}
    for split, paired in pairs.items():
        if paired != pairs["train"]:
            kinds = ("single texts", "sentence pairs")
            raise DataError(
                f"{parts[split].source} holds {kinds[paired]}, but {parts['train'].source} holds {kinds[not paired]}. "
                "Name the text columns with --text."
            )


def _label_problem(row: RawRow, column: str) -> str | None:
    value = row.values.get(column)
    absent = is_missing(value) or (isinstance(value, str) and not value.strip())
    return f"has no label in '{column}'" if absent else None


def _label_name(row: RawRow, column: str, source: str, known: tuple[str, ...] | None) -> str:
    value = row.values[column]
    place = f"{source}, {row.place}, column '{column}'"
    # An error for the whole file and not a bad row: the column is wrong, or the task needs several labels.
    if is_list(value):
        kind, remedy = "a list", "Give one label in each row, or name another column with --label."
        if isinstance(value, Mapping) and value:
            fields = " or ".join(f"--label {column}.{name}" for name in list(value)[:3])
            kind, remedy = "an object", f"Name its field, {fields}."
        raise DataError(
            f"{place}: the label {value!s:.60} is {kind}, but a classifier learns one label for each text. {remedy}"
        )
    label = label_of(value)
    if label is None:
        raise DataError(
            f"{place}: a label must be text, a number, a date or true/false. "
            f"Received: {value!r:.40} ({type(value).__name__}). Choose another --label."
        )
    # The names of a source belong to its numbers. Text is a name already.
    if known is not None and not isinstance(value, str | bool) and label.isdecimal() and int(label) < len(known):
        return label_of(known[int(label)]) or ""
    return label
