"""Reader of rows with several labels each, from any source. See `kerora.data.label_sets` for the forms."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from kerora.data.classes import ClassLabels, check_known, named, numbers_for_run, numbers_of, ordered
from kerora.data.columns import Columns
from kerora.data.extract import Record, TargetRows
from kerora.data.files import open_table
from kerora.data.label_sets import column_problem, columns_in, is_set, labels_in, set_problem
from kerora.data.labels import SEPARATORS, label_of, several_labels
from kerora.data.row_reader import Settled
from kerora.data.rows import SETS, Rows
from kerora.data.save import check_same
from kerora.data.table import RawRow, Table
from kerora.data.target_reader import TargetReader, check_pairs, without_targets
from kerora.data.text_store import TextStore
from kerora.errors import DataError, quoted
from kerora.notices import notice
from kerora.settings.fit import SPLITS, DataConfig

Names = tuple[str, ...]
LISTS, PLAIN, WORDS, COLUMNS = "lists", "plain text", "words of fastText", "columns of 0 and 1"


@dataclass
class SetRows(TargetRows[Rows[Names]]):
    """Rows of one part with the labels of each row as names, in the order of the source, with repeated ones.

    Attributes:
        first_seen: place of the first row with each label, for messages.
        classes: all class names in order, if the source itself has them; else None.
        values: for data that was saved with renamed classes, the original label of each of `classes`.
        form: how the source writes the labels; empty before the first row.
    """

    first_seen: dict[str, str] = field(default_factory=dict)
    classes: Names | None = None
    values: Names | None = None
    form: str = ""
    # rows with the same labels share one tuple, which saves memory
    _shared: dict[Names, Names] = field(default_factory=dict, repr=False)

    def append(self, record: Record, labels: Sequence[str], place: str) -> None:
        """Add a row. `place` says where it is in the source, such as ``row 3 (line 4)``."""
        for label in labels:
            self.first_seen.setdefault(label, place)
        names = tuple(map(sys.intern, labels))
        self.rows.append(record.text, record.id, self._shared.setdefault(names, names), record.pair)

    def extend(self, other: Self) -> None:
        """Add the rows of another shard of the part."""
        super().extend(other)
        for label, place in other.first_seen.items():
            self.first_seen.setdefault(label, f"{Path(other.source).name} {place}")

    @property
    def width(self) -> int | None:
        """Number of columns if the rows are those of a matrix of 0 and 1, else None.

        Lists of one length with nothing but 0 and 1 are a matrix. As sets of labels, all rows would be equal.
        """
        targets = self.rows.targets or []
        widths = {len(names) for names in self._shared} if self._shared else {len(names) for names in targets}
        width = next(iter(widths)) if len(widths) == 1 else 0
        alike = width > 1 and self.form == LISTS and self.classes is None
        return width if alike and (set(self.first_seen) <= {"0", "1"} or set(self.first_seen) <= {"true", "false"}) \
            else None  # fmt: skip


class LabelSetReader(TargetReader[SetRows, Rows[tuple[int, ...]]]):
    """Reads texts and their labels.

    Args:
        separator: text between the labels of a row, or None.
    """

    def __init__(self, separator: str | None = None) -> None:
        self.separator = separator

    def check_columns(self, columns: Columns, place: str) -> None:
        """Accept one column, or several of 0 and 1."""
        if len(columns.labels) > 1 and self.separator is not None:
            raise DataError(
                f"{place}: --label names {len(columns.labels)} columns of 0 and 1, which have no --label-separator. "
                "Leave it out, or name one column."
            )

    def begin(self, part: SetRows, table: Table, columns: Columns) -> None:
        """Take the class names of the label column, or the names of several columns."""
        if len(columns.labels) > 1:
            part.classes, part.form = columns.labels, COLUMNS
        else:
            part.classes = table.class_names.get(columns.label or "")
            part.form = WORDS if columns.label in table.several else ""

    def target_problem(self, row: RawRow, columns: Columns) -> str | None:
        """Return what is wrong with the labels of a row, or None."""
        if len(columns.labels) > 1:
            return column_problem(row.values, columns.labels)
        label = columns.label or ""
        return set_problem(row.values.get(label), label, self.separator)

    def add(self, part: SetRows, record: Record, row: RawRow, columns: Columns) -> None:
        """Add a row with the names of its labels."""
        if part.form == COLUMNS:
            part.append(record, columns_in(row.values, columns.labels), row.place)
            return
        value = row.values[columns.label or ""]
        form = LISTS if is_set(value) else PLAIN
        if part.form in ("", WORDS):
            part.form = part.form or form
        elif form != part.form:
            raise DataError(
                f"{part.source}, {row.place}, column '{columns.label}': the label {value!s:.60} is {_kind(form)}, but "
                f'earlier rows hold {_kind(part.form)}. Write all rows in one form, such as ["a", "b"].'
            )
        labels = labels_in(value, None if part.form == WORDS else self.separator)
        part.append(record, [_name(label, part.classes) for label in labels], row.place)

    def mark_hidden(self, test: SetRows, train: SetRows) -> None:
        """Mark a test part in which no row has a label as unlabelled."""
        if test.unlabelled is None and not test.first_seen and train.first_seen:
            test.unlabelled = f"{test.source}: no row has a label."

    def saved(self, folder: Path, description: Mapping[str, Any]) -> Callable[[Path, str], SetRows]:
        """Return a function that reads a saved file with all classes in their order.

        Raises:
            DataError: the folder holds texts without labels. The returned function also raises it if a file differs
                from what was saved.
        """
        if description.get("form", SETS) != SETS:
            raise DataError(f"{folder} holds texts for a language model, without labels. Add --task causal-lm.")
        return partial(self._saved, description)

    def _saved(self, description: Mapping[str, Any], path: Path, split: str) -> SetRows:
        saved, classes = description["splits"][split], tuple(description["classes"])
        values = tuple(description["values"]) if "values" in description else None
        if not saved["rows"]:
            return SetRows(str(path), Rows([], [], []), classes=classes, values=values)
        with open_table(path, DataConfig()) as table:
            texts = ("text", "pair") if "pair" in table.columns else ("text",)
            join = "pair" if len(texts) == 2 else "space"
            # The names are those of `objects`. The user's --text and --label are for other files.
            part = LabelSetReader().table(table, DataConfig(text=texts, text_join=join, label=("label",), id="id"))
        # From the description and not from the rows, so that a class without rows keeps its number.
        part.classes, part.values = classes, values
        if part.unlabelled is not None:
            check_same(path, part.rows, saved)
            return part
        # rows that were saved with one label each have another fingerprint
        if description.get("form") == SETS:
            check_same(path, numbered_sets(part, numbers_of(classes, str(path)), "its classes"), saved)
        return part

    def empty(self, source: str) -> SetRows:
        """Return a part without rows."""
        return SetRows(source, Rows(TextStore(), TextStore()))

    def settle(self, parts: Mapping[str, SetRows], config: DataConfig) -> Settled[Rows[tuple[int, ...]]]:
        """Choose the classes from the training rows, and replace the labels of all parts by class numbers.

        Raises:
            DataError: a label is unknown, a column holds no 1, there are too few rows or classes, or one part holds
                single texts and another one pairs.
        """
        parts = dict(parts)  # a copy, because the unlabelled part is removed
        unlabelled = self.take_unlabelled(parts)
        train = parts["train"]
        classes, numbers = choose_names(train, config, self.separator)
        if config.subset is not None and config.subset < len(classes):
            raise DataError(
                f"Setting 'subset' is {config.subset}, fewer rows than the {len(classes)} classes. Raise it."
            )
        # The unlabelled rows go through the same model, so they must have the same form.
        check_pairs(parts if unlabelled is None else {**parts, "test": unlabelled})
        splits = [split for split in SPLITS if split in parts]
        numbered = {split: numbered_sets(parts[split], numbers, "the training rows", train.width) for split in splits}
        values = tuple(numbers)
        if train.classes is not None and train.values is not None:
            known = dict(zip(map(label_of, train.classes), train.values, strict=True))
            values = tuple(known[label] for label in numbers)
        return Settled(numbered, classes, values, None if unlabelled is None else without_targets(unlabelled))


def choose_names(train: SetRows, config: DataConfig, separator: str | None) -> tuple[Names, dict[str, int]]:
    """Return the class names, and the class number of each label in the rows.

    They are chosen as for one label in each row; see `kerora.data.classes.choose_classes`. Several columns keep their
    order. The classes of a matrix are the numbers of its columns.

    Raises:
        DataError: there are fewer than two labels, a column holds no 1, or `class_names` do not fit the labels.
    """
    if train.form == COLUMNS:
        labels: Names = train.classes or ()
        empty = [name for name in labels if name not in train.first_seen]
        if empty:
            raise DataError(
                f"{train.source}: the column {quoted(empty, 5)} holds no 1, so it cannot be learned. Leave it out of "
                "--label, or add rows."
            )
    elif train.width is not None:
        labels = tuple(str(number) for number in range(train.width))
        notice(
            f"{train.source}: its lists of {train.width} values hold 0 and 1 alone, so they are read as the rows of a "
            "matrix with a column for each label."
        )
    else:
        labels = tuple(numbers_of(train.classes, train.source)) if train.classes else ordered(train.first_seen)
    if len(labels) < 2 or not train.first_seen:
        found = f"the one label {labels[0]!r:.60}" if labels else "no labels"
        raise DataError(f"{train.source}: the rows have {found}. This task needs at least two labels. Check --label.")
    if train.form == PLAIN and separator is None:
        _check_plain(train)
    names, numbers = named(labels, train, config)
    inner = next((name for name in names if separator is not None and separator in name), None)
    if inner is not None:
        raise DataError(
            f"The name {inner!r:.60} in class_names holds the separator {separator!r}. Choose another name."
        )
    return names, numbers


def _check_plain(train: SetRows) -> None:
    several = several_labels(train.first_seen)
    if several is not None:
        mark = next((mark for mark in SEPARATORS if mark in several), " ")
        raise DataError(
            f"{train.source}, {train.first_seen[several]}: is {several!r:.60} one label, or several separated by "
            f"{mark!r}? Its parts are labels of other rows too. Divide it with --label-separator '{mark}', or write "
            "each row as a list."
        )
    notice(f"{train.source}: each row has one label, and no list. --label-separator divides labels such as a|b.")


def numbered_sets(
    part: SetRows,
    numbers: Mapping[str, int],
    origin: str,
    width: int | None = None,
    known: Sequence[str] | None = None,
) -> Rows[tuple[int, ...]]:
    """Return the rows with sorted class numbers as targets.

    Args:
        part: the rows.
        numbers: class number by label.
        origin: where the classes come from, for the message: ``the training rows`` or ``the run``.
        width: number of columns if the training rows are a matrix of 0 and 1.
        known: the classes as the message lists them. Default: the labels of `numbers`.

    Raises:
        DataError: a label is unknown. The error names the row, the label and the known labels.
    """
    rows = part.rows
    if width is not None:
        if len(rows) and part.width != width:
            raise DataError(
                f"{part.source}: the training rows have a matrix of 0 and 1 with {width} columns as labels, but these "
                "rows have another form. Write them in the same form."
            )
        places = list(numbers.values())
        ones = {names: tuple(sorted(places[at] for at, name in enumerate(names) if name in ("1", "true")))
                for names in set(rows.targets or ())}  # fmt: skip
        return Rows(rows.texts, rows.ids, [ones[names] for names in rows.targets or ()], rows.pairs)
    check_known(part, numbers, origin, known)
    sets = {names: tuple(sorted({numbers[name] for name in names})) for names in set(rows.targets or ())}
    return Rows(rows.texts, rows.ids, [sets[names] for names in rows.targets or ()], rows.pairs)


def sets_for_run(part: SetRows, classes: ClassLabels, config: DataConfig) -> Rows[tuple[int, ...]]:
    """Return the rows of a file with the class numbers of a trained run; see `numbers_for_run`.

    Raises:
        DataError: a label is unknown, or more than one reading is possible.
    """
    positions = tuple(str(number) for number in range(len(classes.names)))
    if part.width == len(positions) and (classes.values or classes.names) == positions:
        return numbered_sets(part, {name: number for number, name in enumerate(positions)}, "the run", part.width)
    numbers = numbers_for_run(part, classes, config)
    return numbered_sets(part, numbers, "the run", None, classes.described())


def _name(value: Any, known: Names | None) -> str:
    label = label_of(value) or ""
    # The names of a source belong to its numbers. Text is a name already.
    if known is not None and not isinstance(value, str | bool) and label.isdecimal() and int(label) < len(known):
        return label_of(known[int(label)]) or ""
    return label


def _kind(form: str) -> str:
    return {LISTS: "a list", PLAIN: "plain text"}.get(form, form)
