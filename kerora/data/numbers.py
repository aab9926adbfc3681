"""Reader of texts with numbers to predict: single texts or sentence pairs, each with one number or several."""

import decimal
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.columns import Columns
from kerora.data.extract import Record, TargetRows
from kerora.data.files import open_table
from kerora.data.row_reader import Settled
from kerora.data.rows import Column, Rows
from kerora.data.save import check_same
from kerora.data.table import RawRow, Table
from kerora.data.target_reader import TargetReader, check_pairs, missing_value, without_targets
from kerora.data.text_store import TextStore
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig

Numbers = tuple[float, ...]
"""The numbers to predict for a text, in the order of the label columns."""
# only ASCII, and no underscores: `float` takes more than other tools do
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
HIDDEN = -1.0
"""The number of rows whose numbers are not published, in test parts of TFDS and of the Hugging Face hub."""
KIND = "numbers"
"""The entry ``targets`` in the description of a saved data set with numbers."""
FINEST = 1e-6
"""Smallest ratio of deviation and mean. A float32 has 24 bits: below, most numbers of a column become equal."""


class NumberRows(Rows[Numbers]):
    """One split of texts with numbers. They have no classes, so splits and subsets are random samples."""

    def take(self, indices: Sequence[int]) -> "NumberRows":
        """Return the rows at `indices`, in that order."""
        found = super().take(indices)
        return NumberRows(found.texts, found.ids, found.targets, found.pairs)

    def strata(self) -> None:
        """Return None: numbers have no classes."""

    def label_counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return no counts: `classes` are the names of the numbers."""
        return {}

    def objects(self, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield each row with ``id``, ``text``, for pairs ``pair``, and ``label``: a number, or a list of several."""
        for row in super().objects(classes):
            target = row.pop("label", None)
            # JSON holds floats with all their digits
            yield row if target is None else {**row, "label": target[0] if len(target) == 1 else list(target)}

    @classmethod
    def facts(cls, splits: Mapping[str, Any]) -> dict[str, Any]:
        """Return that the labels are numbers. A classifier would else read each as the name of a class."""
        return {"targets": KIND}


@dataclass
class NumberPart(TargetRows[NumberRows]):
    """Rows of one part with numbers.

    Attributes:
        names: names of the numbers: the label columns.
    """

    names: tuple[str, ...] = ()


class NumberReader(TargetReader[NumberPart, NumberRows]):
    """Reads texts and their numbers."""

    def check_columns(self, columns: Columns, place: str) -> None:
        """Refuse a label column that is named twice."""
        twice = next((name for name in columns.labels if columns.labels.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"{place}: --label names the column '{twice}' twice. Name each column once.")

    def begin(self, part: NumberPart, table: Table, columns: Columns) -> None:
        """Take the names of the label columns. Integers with names in the file itself are classes."""
        part.names = columns.labels
        named = next((name for name in columns.labels if table.class_names.get(name)), None)
        if named is not None:
            raise DataError(
                f"{table.name}: the label column '{named}' holds classes with names, and not numbers. Leave out --task "
                "regression, or name another column with --label."
            )

    def target_problem(self, row: RawRow, columns: Columns) -> str | None:
        """Return what is wrong with the numbers of a row, or None."""
        problems = (missing_value(row, name) or number_problem(row.values[name], name) for name in columns.labels)
        return next(filter(None, problems), None)

    def add(self, part: NumberPart, record: Record, row: RawRow, columns: Columns) -> None:
        """Add a row with its numbers."""
        target = tuple(_number(row.values[name]) for name in columns.labels)
        part.rows.append(record.text, record.id, target, record.pair)

    def mark_hidden(self, test: NumberPart, train: NumberPart) -> None:
        """Mark a test part whose only number is -1, if no training row has it. The hubs hide numbers so."""
        if any(HIDDEN in target for target in train.rows.targets or ()):
            return
        mark_unlabelled(test)

    def label_column(self, columns: Sequence[str], config: DataConfig, place: str) -> None:
        """Return None: a number -1 is no sign of a missing label, so every row of a TFDS data set is read.

        Raises:
            DataError: the label column is missing.
        """
        super().label_column(columns, config, place)

    def saved(self, folder: Path, description: Mapping[str, Any]) -> Callable[[Path, str], NumberPart]:
        """Return a function that reads a saved file.

        Raises:
            DataError: the folder holds no numbers. The returned function also raises it if a file differs from what was
                saved.
        """
        if description.get("targets") != KIND:
            other = "texts for a language model" if "form" in description else "classes"
            task = "--task causal-lm" if "form" in description else "no --task regression"
            raise DataError(f"{folder} holds {other}, and not numbers to predict. Read it with {task}.")
        return partial(self._saved, description)

    def _saved(self, description: Mapping[str, Any], path: Path, split: str) -> NumberPart:
        saved, names = description["splits"][split], tuple(description["classes"])
        if not saved["rows"]:
            return NumberPart(str(path), NumberRows([], [], []), names=names)
        with open_table(path, DataConfig()) as table:
            texts = ("text", "pair") if "pair" in table.columns else ("text",)
            join = "pair" if len(texts) == 2 else "space"
            divided = _divided(table, names) if "label" in table.columns else table
            # the names are those of `objects`; the user's --text and --label are for other files
            part = self.table(divided, DataConfig(text=texts, text_join=join, label=_columns(names), id="id"))
        part.names = names
        check_same(path, part.rows, saved)
        return part

    def empty(self, source: str) -> NumberPart:
        """Return a part without rows."""
        return NumberPart(source, NumberRows(TextStore(), TextStore()))

    def settle(self, parts: Mapping[str, NumberPart], config: DataConfig) -> Settled[NumberRows]:
        """Check that the training numbers differ and that all parts have the same form.

        Raises:
            DataError: a column of the training rows is constant, or too near to that for float32; or one part holds
                single texts and another one pairs.
        """
        if config.class_names:
            raise DataError("--class-names names classes, but --task regression predicts numbers. Leave it out.")
        parts = dict(parts)  # a copy, because the unlabelled part is removed
        unlabelled = self.take_unlabelled(parts)
        train = parts["train"]
        for number, name in enumerate(train.names):
            _check_spread(np.array([target[number] for target in train.rows.targets or ()]), name, train.source)
        check_pairs(parts if unlabelled is None else {**parts, "test": unlabelled})
        splits = {split: parts[split].rows for split in SPLITS if split in parts}
        waiting = None if unlabelled is None else _as_numbers(without_targets(unlabelled))
        return Settled(splits, train.names, train.names, waiting)


def mark_unlabelled(part: NumberPart) -> None:
    """Mark a part whose only number is -1 as unlabelled."""
    targets = part.rows.targets
    if targets and all(value == HIDDEN for target in targets for value in target):
        part.unlabelled = f"{part.source}: all numbers are -1, which stands for no number."


def number_problem(value: Any, name: str) -> str | None:
    """Return what is wrong with a number in the column `name`, or None. Text such as ``3.5`` is a number."""
    value = value.item() if isinstance(value, np.generic) else value
    # Python counts a bool as a number
    if isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false")):
        return f"has {str(value).strip().lower()} in '{name}', which is no number"
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        if DECIMAL_COMMA.fullmatch(text):
            return f"has '{text:.40}' in '{name}': write a decimal point, such as {text.replace(',', '.'):.40}"
        if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            return f"has '{text}' in '{name}', which is not finite"
        if not NUMBER.fullmatch(text):
            return f"has {text!r:.60} in '{name}', which is no number"
    elif not isinstance(value, int | float | decimal.Decimal):
        remedy = ": name a column for each number" if isinstance(value, list | tuple | dict | np.ndarray) else ""
        return f"has {value!r:.60} in '{name}', which is no number{remedy}"
    try:
        finite = math.isfinite(_number(value))
    except OverflowError:
        finite = False
    return None if finite else f"has {str(value)!r:.40} in '{name}', which is not finite"


def _number(value: Any) -> float:
    return float(value.decode() if isinstance(value, bytes) else value)


def _columns(names: Sequence[str]) -> tuple[str, ...]:
    # a target can have the name of another column of the saved file, such as "text"
    return ("label",) if len(names) == 1 else tuple(f"label {number}" for number in range(len(names)))


def _divided(table: Table, names: Sequence[str]) -> Table:
    """Return the table of a saved file with a column for each number."""
    columns = _columns(names)

    def rows() -> Iterator[RawRow]:
        for row in table.rows:
            label = row.values.get("label")
            values = label if isinstance(label, list) else [label]
            # a row of another length lacks numbers, or has one too many, and the checksum finds it
            found = dict(zip(columns, values, strict=False))
            yield RawRow(row.number, row.line, {**row.values, **found}, row.problem)

    return Table(table.name, (*table.columns, *(name for name in columns if name != "label")), rows(), {})


def _as_numbers(rows: Rows[Any]) -> NumberRows:
    return NumberRows(rows.texts, rows.ids, pairs=rows.pairs)


def _check_spread(values: np.ndarray, name: str, source: str) -> None:
    # by the ends and not by the deviation, which rounding can make larger than 0
    if not len(values) or values.min() == values.max():
        only = f"{values[0]:g}" if len(values) else "none"
        raise DataError(
            f"{source}: all {len(values):,} training rows have the number {only} in '{name}'. A regression needs "
            "numbers that differ. Give other rows, or name another column with --label."
        )
    # the squares of errors must fit too
    if max(abs(values.min()), abs(values.max())) > float(np.finfo(np.float32).max) ** 0.5:
        raise DataError(f"{source}: the numbers in '{name}' are too large for float32. Divide them by a power of ten.")
    mean, deviation = float(values.mean()), float(values.std())
    if deviation < FINEST * abs(mean):
        raise DataError(
            f"{source}: the numbers in '{name}' are near {mean:.6g} and differ by {deviation:.2g} only, which float32 "
            f"cannot tell apart. Subtract {mean:.6g} from them."
        )


@dataclass(frozen=True)
class Scale:
    """The mean and the deviation by which numbers are standardised.

    Attributes:
        mean: the mean of each number, in float64.
        deviation: the population standard deviation of each number, above 0.
    """

    mean: Numbers
    deviation: Numbers

    @classmethod
    def of(cls, targets: Any, *, centred: bool = True) -> "Scale":
        """Return the scale of training rows.

        Args:
            targets: finite numbers (rows, numbers).
            centred: False sets the mean to 0 and takes the root mean square as the deviation. This suits a head without
                a bias, which could not hold the mean.
        """
        values = np.asarray(targets, np.float64)
        mean = values.mean(axis=0) if centred else np.zeros(values.shape[1])
        deviation = np.sqrt(((values - mean) ** 2).mean(axis=0))
        # a constant column needs no scale; the reader of training rows refuses it
        plain = np.where(deviation > 0, deviation, 1.0)
        return cls(tuple(mean.tolist()), tuple(plain.tolist()))

    @classmethod
    def plain(cls, count: int) -> "Scale":
        """Return the scale that leaves numbers as they are."""
        return cls((0.0,) * count, (1.0,) * count)

    @property
    def is_plain(self) -> bool:
        """Whether it leaves numbers as they are."""
        return not any(self.mean) and all(value == 1.0 for value in self.deviation)


def number_column(values: Any) -> Column[Numbers]:
    """Return numbers (rows,) or (rows, numbers) as the targets of rows."""
    found = np.asarray(values, np.float64)
    return [tuple(row) for row in found.reshape(len(found), -1).tolist()]
