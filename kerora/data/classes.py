"""Class names: their choice, their order, and the class number of each label."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerora.data.extract import LabelledRows
from kerora.data.labels import SEPARATORS, label_of, several_labels
from kerora.data.rows import Rows, class_counts
from kerora.errors import DataError, listed, nearest
from kerora.settings.fit import DataConfig

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
INTEGER = re.compile(r"[+-]?\d+")


class NamedLabels(Protocol):
    """Rows of one part whose labels are still names."""

    @property
    def source(self) -> str:
        """The file or data set, for messages."""

    @property
    def first_seen(self) -> Mapping[str, str]:
        """Place of the first row with each label."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """All class names in order, if the source itself has them."""

    @property
    def values(self) -> tuple[str, ...] | None:
        """The original label of each class, if the source has them."""


@dataclass(frozen=True)
class ClassLabels:
    """The classes of a trained run.

    Attributes:
        names: the class names in the order of their numbers.
        values: the label of each class in the training data, which `class_names` renamed. Empty for a run of an older
            version, which does not hold them.
        temperature: divides the logits of the run before the softmax. 1 if none was fitted.
    """

    names: tuple[str, ...]
    values: tuple[str, ...] = ()
    temperature: float = 1.0

    def described(self) -> list[str]:
        """Return the names, with the labels of the training data where they differ: ``positive (4)``."""
        values = self.values or self.names
        return [
            name if label_of(name) == value else f"{name} ({value})"
            for name, value in zip(self.names, values, strict=True)
        ]


def choose_classes(train: LabelledRows, config: DataConfig) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names, and the class number of each label in the rows.

    By default the labels are the names. Integers stand in numerical order, other labels in alphabetical order. If the
    source itself has class names, their names and order are kept. `class_names` renames integer labels or the classes
    of the source. If `class_names` holds the labels themselves, it sets their order.

    Raises:
        DataError: there is only one class, every row has a different label, some labels seem to be several labels, or
            `class_names` do not fit the labels.
    """
    labels = tuple(numbers_of(train.classes, train.source)) if train.classes else ordered(train.first_seen)
    # By the labels that occur: a source can list classes of which the training rows hold only one.
    if len(train.first_seen) < 2:
        only = next(iter(train.first_seen))
        raise DataError(
            f"{train.source}: all rows have the label {only!r:.60}. A classifier needs at least two classes."
        )
    # Names from the settings take the form of labels, so that 1.0 in a config matches the label 1.
    reordered = tuple(label_of(name) or "" for name in config.class_names)
    # A user who lists every label has confirmed that a label such as "a,b" is one name.
    if not train.classes and set(reordered) != set(labels):
        _check_single(train)
    # A different label in every row: the column holds texts or identifiers, not classes.
    if len(train.rows) < len(labels) or len(train.rows) == len(train.first_seen):
        raise DataError(
            f"{train.source}: {len(train.rows)} rows are too few for {len(labels)} classes ({listed(labels, 5)}). "
            f"Give more rows, or name the right column with --label.{_number_remedy(labels)}"
        )
    return named(labels, train, config)


def named(labels: tuple[str, ...], train: NamedLabels, config: DataConfig) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names, and the class number of each label, in the order or with the names of the settings.

    Args:
        labels: the labels in their order.
        train: the training rows.
        config: `class_names` orders the labels if it holds them, and renames them otherwise.

    Raises:
        DataError: `class_names` do not fit the labels.
    """
    reordered = tuple(label_of(name) or "" for name in config.class_names)
    if set(reordered) == set(labels) and len(reordered) == len(labels):
        names, labels = config.class_names, reordered
    else:
        names = _renamed(labels, train, config) if config.class_names else train.classes or labels
    return names, {label: number for number, label in enumerate(labels)}


def _number_remedy(labels: Sequence[str]) -> str:
    """Return a remedy for labels that are numbers, some with decimals."""
    measured = all(map(NUMBER.fullmatch, labels)) and any("." in label for label in labels)
    return " To predict numbers, add --task regression." if measured else ""


def original_values(train: NamedLabels, numbers: Mapping[str, int]) -> tuple[str, ...]:
    """Return the label of each class in the original source, in the order of the class numbers."""
    if train.classes is None or train.values is None:
        return tuple(numbers)
    values = dict(zip(map(label_of, train.classes), train.values, strict=True))
    return tuple(values[label] for label in numbers)


def numbers_of(names: Sequence[str], source: str) -> dict[str, int]:
    """Return the class number by label, for class names that a source lists.

    Raises:
        DataError: two names are the same label, such as ``1`` and ``1.0``.
    """
    numbers: dict[str, int] = {}
    for number, name in enumerate(names):
        first = numbers.setdefault(label_of(name) or "", number)
        if first != number:
            raise DataError(f"{source}: the class names {names[first]!r:.40} and {name!r:.40} are the same label. "
                            "Rename one of them.")  # fmt: skip
    return numbers


def _check_single(train: LabelledRows) -> None:
    several = several_labels(train.first_seen)
    if several is not None:
        mark = next((mark for mark in SEPARATORS if mark in several), " ")
        # YAML reads a list of JSON, so names with commas and quotes can be given too
        listed = json.dumps([several, *(part.strip() for part in several.split(mark))], ensure_ascii=False)
        raise DataError(
            f"{train.source}, {train.first_seen[several]}: is {several!r:.60} one label, or several labels separated "
            f"by {mark!r}? Its parts are labels of other rows too. A classifier learns one label for each text: give "
            "one label in each row. If it is one label, list every class in the setting class_names, for example with "
            f"--set 'data.class_names={listed:.200}'."
        )


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Sort labels: numerically if all are integers, else alphabetically."""
    labels = list(labels)
    if are_integers(labels):
        # The text decides between codes of equal value, such as 01 and 1.
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def are_integers(labels: Iterable[str]) -> bool:
    """Tell whether every label is an integer."""
    return all(INTEGER.fullmatch(label) for label in labels)


def numbered(
    part: LabelledRows, numbers: Mapping[str, int], origin: str, known: Sequence[str] | None = None
) -> Rows[int]:
    """Return the rows with class numbers as labels.

    Args:
        part: the rows.
        numbers: class number by label.
        origin: where the classes come from, for the message: ``the training rows`` or ``the run``.
        known: the classes as the message lists them. Default: the labels of `numbers`.

    Raises:
        DataError: a label is unknown. The error names the row, the label and the known labels.
    """
    check_known(part, numbers, origin, known)
    rows = part.rows
    return Rows(rows.texts, rows.ids, [numbers[name] for name in rows.targets or ()], rows.pairs)


def check_known(part: NamedLabels, numbers: Mapping[str, int], origin: str, known: Sequence[str] | None) -> None:
    """Check that all labels of a part are known; see `numbered` for the arguments.

    Raises:
        DataError: a label is unknown. The error names the row, the label and the known labels.
    """
    unknown = next((label for label in part.first_seen if label not in numbers), None)
    if unknown is not None:
        raise DataError(
            f"{part.source}, {part.first_seen[unknown]}: label {unknown!r:.60} does not occur in {origin}, which has "
            f"{listed(known or list(numbers))}.{nearest(unknown, numbers)} Correct the label or add training rows "
            "for it."
        )


def numbers_for_run(part: NamedLabels, classes: ClassLabels, config: DataConfig) -> dict[str, int]:
    """Return the class number in a trained run of each label in a file.

    A label is a class name of the run, or the label that the class had in the training data. Runs of older versions
    hold only the names. If such a run renamed its labels with `class_names`, the labels of a file with all classes are
    matched by their order.

    Raises:
        DataError: more than one match is possible, or none.
    """
    if not classes.values:
        return _numbers_by_order(part, classes, config)
    names, values = _lookup(classes.names), _lookup(classes.values)
    seen = tuple(part.first_seen)
    all_names, all_values = (all(label in numbers for label in seen) for numbers in (names, values))
    # Only one of the two readings explains every label, so it is the right one.
    if all_names != all_values:
        return names if all_names else values
    # A run with renamed classes can use a name that is the label of another class: {0: "1", 1: "0"}.
    both = (label for label in seen if label in names and label in values)
    unclear = next((label for label in both if names[label] != values[label]), None)
    if unclear is not None:
        raise DataError(
            f"{part.source}: label {unclear!r:.60} is the class {classes.names[values[unclear]]!r:.60} as a label of "
            f"the training data, but it is also the name of another class. The run has {listed(classes.described())}. "
            "Write the names of all classes, or train the run again without --class-names."
        )
    return {**names, **values}


def _lookup(labels: Sequence[str]) -> dict[str, int]:
    numbers = {label_of(label) or "": number for number, label in enumerate(labels)}
    # Classes of an older run can differ only in their form, such as 1 and 1.0.
    return numbers if len(numbers) == len(labels) else {label: number for number, label in enumerate(labels)}


def _numbers_by_order(part: NamedLabels, classes: ClassLabels, config: DataConfig) -> dict[str, int]:
    names = _lookup(classes.names)
    labels = tuple(map(label_of, part.classes)) if part.classes else ordered(part.first_seen)
    renamed = config.class_names and (part.classes is not None or are_integers(part.first_seen))
    # One known name shows that the file already uses the names of the run.
    if not renamed or any(label in names for label in labels):
        return names
    # With a class missing, the order of the others says nothing about their numbers.
    if len(labels) == len(classes.names):
        return {label or "": number for number, label in enumerate(labels)}
    raise DataError(
        f"{part.source}: cannot tell which classes the labels {listed(ordered(part.first_seen))} are. The run has the "
        f"classes {listed(classes.names)}, and it was trained by an older version, which did not keep the labels of "
        "the training data. Write these names into the file."
    )


def check_enough(labels: np.ndarray, classes: Sequence[str], source: str, parts: Sequence[str]) -> None:
    """Check that every class has a row for the training part and one for each part that is cut from it.

    Args:
        labels: class numbers of the training rows (rows,), or whether each row has each class, bool (rows, classes).
        classes: the names of the classes.
        source: source of the rows, for the message.
        parts: names of the parts that are cut.

    Raises:
        DataError: a class has too few rows.
    """
    for number, count in sorted(class_counts(labels).items()):
        # A class without rows in a part has no score there, and without training rows it cannot be learned.
        if count < 1 + len(parts):
            options = " and ".join(f"--{part}" for part in parts)
            raise DataError(
                f"{source}: class '{classes[number]}' has {count} row{'s' * (count > 1)}, too few to split by class "
                f"into train and {' and '.join(parts)}. Add rows, give {options}, "
                f"or set --{parts[0]}-split 0.{_number_remedy(classes)}"
            )


def _renamed(labels: Sequence[str], train: NamedLabels, config: DataConfig) -> tuple[str, ...]:
    names = config.class_names
    # The names follow the sorted labels. A user knows that order only of integers.
    if train.classes is None and not are_integers(labels):
        raise DataError(
            f"{train.source}: class_names names integer labels, but the labels are {listed(labels)}. "
            "Leave class_names out."
        )
    if len(names) != len(labels) or len(set(names)) != len(names):
        raise DataError(
            f"{train.source}: class_names has {len(names)} names ({listed(names)}) for {len(labels)} labels "
            f"({listed(labels)}). Give one different name for each."
        )
    return names
