"""Reader of labelled rows: single texts or sentence pairs, each with a class, from any source."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kerora.data.bad_rows import BadRow
from kerora.data.classes import choose_classes, numbered, numbers_of, original_values
from kerora.data.columns import Columns
from kerora.data.extract import LabelledRows, Record, text_problem
from kerora.data.files import FORMATS_IN_WORDS, open_table
from kerora.data.folders import class_folders, class_folders_by_split, text_files
from kerora.data.labels import is_list, label_of
from kerora.data.lines import open_lines
from kerora.data.numbers import KIND
from kerora.data.row_reader import Found, Settled, collect
from kerora.data.rows import SETS, Rows
from kerora.data.save import check_same
from kerora.data.table import RawRow, Table
from kerora.data.target_reader import TargetReader, check_pairs, missing_value, without_targets
from kerora.data.text_store import TextStore
from kerora.errors import DataError, quoted
from kerora.settings.fit import SPLITS, DataConfig

HIDDEN = "-1"
"""The label of rows whose labels are not published, in test parts of the Hugging Face hub and of TFDS."""


class LabelledReader(TargetReader[LabelledRows, Rows[int]]):
    """Reads texts and their labels."""

    def check_columns(self, columns: Columns, place: str) -> None:
        """Refuse several label columns."""
        if len(columns.labels) > 1:
            raise DataError(
                f"{place}: --label names the columns {quoted(columns.labels)}, but a classifier learns one label for "
                "each text. Name one, or add --task multi-label or --task regression."
            )

    def begin(self, part: LabelledRows, table: Table, columns: Columns) -> None:
        """Take the class names of the label column."""
        part.classes = table.class_names.get(columns.label or "")

    def target_problem(self, row: RawRow, columns: Columns) -> str | None:
        """Return that a row has no label, or several words of fastText, or None."""
        value = row.values.get(columns.label or "")
        # other lists are an error of the whole column, see `_label_name`
        if isinstance(value, tuple) and value:
            return f"has several labels: {', '.join(value[:5])}; a row can have one. --task multi-label learns several"
        return missing_value(row, columns.label or "")

    def add(self, part: LabelledRows, record: Record, row: RawRow, columns: Columns) -> None:
        """Add a row with the name of its label."""
        part.append(record, _label_name(row, columns.label or "", part.source, part.classes), row.place)

    def mark_hidden(self, test: LabelledRows, train: LabelledRows) -> None:
        """Mark a test part whose only label is -1."""
        mark_unlabelled(test, train.first_seen)

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

    def saved(self, folder: Path, description: Mapping[str, Any]) -> Callable[[Path, str], LabelledRows]:
        """Return a function that reads a saved file. It keeps all classes in their order, also classes without rows.

        Raises:
            DataError: the folder holds texts without labels. The returned function also raises it if a file differs
                from what was saved.
        """
        if description.get("form") == SETS:
            raise DataError(f"{folder} holds rows with several labels. Add --task multi-label.")
        if "form" in description:
            raise DataError(f"{folder} holds texts for a language model, without labels. Add --task causal-lm.")
        if description.get("targets") == KIND:
            raise DataError(f"{folder} holds numbers to predict, and not classes. Add --task regression.")
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
        unlabelled = self.take_unlabelled(parts)
        classes, numbers = choose_classes(parts["train"], config)
        if config.subset is not None and config.subset < len(classes):
            raise DataError(
                f"Setting 'subset' is {config.subset}, fewer rows than the {len(classes)} classes. Raise it."
            )
        # The unlabelled rows go through the same model, so they must have the same form.
        check_pairs(parts if unlabelled is None else {**parts, "test": unlabelled})
        splits = [split for split in SPLITS if split in parts]
        numbered_splits = {split: numbered(parts[split], numbers, "the training rows") for split in splits}
        values = original_values(parts["train"], numbers)
        return Settled(numbered_splits, classes, values, None if unlabelled is None else without_targets(unlabelled))


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


def mark_unlabelled(part: LabelledRows, known: Collection[str]) -> None:
    """Mark a part whose only label is -1 as unlabelled, if -1 is not a known label. The hubs hide labels so."""
    # In a table with labels -1 and 1, -1 is a class.
    if set(part.first_seen) == {HIDDEN} and HIDDEN not in known:
        part.unlabelled = f"{part.source}: all labels are {HIDDEN}, which stands for no label."


def _label_name(row: RawRow, column: str, source: str, known: tuple[str, ...] | None) -> str:
    value = row.values[column]
    place = f"{source}, {row.place}, column '{column}'"
    # An error for the whole file and not a bad row: the column is wrong, or the task needs several labels.
    if is_list(value):
        kind, remedy = "a list", "Add --task multi-label, give one label in each row, or name another --label."
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
