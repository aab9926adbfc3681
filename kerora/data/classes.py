"""Class names: their choice, their order, and the class number of each label."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kerora.data.extract import LabelledRows
from kerora.data.rows import Rows
from kerora.errors import DataError, nearest
from kerora.settings.fit import DataConfig

INTEGER = re.compile(r"[+-]?\d+")


def choose_classes(train: LabelledRows, config: DataConfig) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names, and the class number of each label in the rows.

    By default the labels are the names. Integers stand in numerical order, other labels in alphabetical order. If the
    source itself has class names, their names and order are kept. `class_names` renames integer labels or the classes
    of the source. If `class_names` holds the labels themselves, it sets their order.

    Raises:
        DataError: there is only one class, every row has a different label, or `class_names` do not fit the labels.
    """
    labels = train.classes or ordered(train.first_seen)
    if len(train.first_seen) < 2:
        only = next(iter(train.first_seen))
        raise DataError(
            f"{train.source}: all rows have the label {only!r:.60}. A classifier needs at least two classes."
        )
    if len(train.rows) < len(labels) or len(train.rows) == len(train.first_seen):
        raise DataError(
            f"{train.source}: {len(train.rows)} rows are too few for {len(labels)} classes ({_listed(labels, 5)}). "
            "Give more rows, or name the right column with --label."
        )
    if set(config.class_names) == set(labels):
        labels = names = config.class_names
    else:
        names = _renamed(labels, train, config) if config.class_names else labels
    return names, {label: number for number, label in enumerate(labels)}


def ordered(labels: Iterable[str]) -> tuple[str, ...]:
    """Sort labels: numerically if all are integers, else alphabetically."""
    labels = list(labels)
    if are_integers(labels):
        return tuple(sorted(labels, key=lambda label: (int(label), label)))
    return tuple(sorted(labels))


def are_integers(labels: Iterable[str]) -> bool:
    """Tell whether every label is an integer."""
    return all(INTEGER.fullmatch(label) for label in labels)


def numbered(part: LabelledRows, numbers: Mapping[str, int], origin: str) -> Rows[int]:
    """Return the rows with class numbers as labels.

    Args:
        part: the rows.
        numbers: class number by label.
        origin: where the classes come from, for the message: ``the training rows`` or ``the run``.

    Raises:
        DataError: a label is unknown. The error names the row, the label and the known labels.
    """
    unknown = next((label for label in part.first_seen if label not in numbers), None)
    if unknown is not None:
        raise DataError(
            f"{part.source}, {part.first_seen[unknown]}: label {unknown!r:.60} does not occur in {origin}, which has "
            f"{_listed(list(numbers))}.{nearest(unknown, numbers)} Correct the label or add training rows for it."
        )
    rows = part.rows
    return Rows(rows.texts, rows.ids, [numbers[name] for name in rows.targets or ()], rows.pairs)


def numbers_for_run(part: LabelledRows, classes: Sequence[str], config: DataConfig) -> dict[str, int]:
    """Return the class number in a trained run of each label in a file.

    Labels are matched by name. If the run renamed its labels with `class_names`, the file may still have the old
    labels. They are then matched by their order if all classes occur. If only some classes occur, integer labels are
    counted from 0 or from 1, if only one of the two is possible.

    Raises:
        DataError: more than one match is possible, or none.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    labels = part.classes or ordered(part.first_seen)
    renamed = config.class_names and (part.classes is not None or are_integers(labels))
    if not renamed or any(label in numbers for label in labels):
        return numbers
    if len(labels) == len(classes):
        return {label: number for number, label in enumerate(labels)}
    starts = _possible_starts(labels, len(classes))
    if len(starts) == 1:
        return {label: int(label) - starts[0] for label in labels}
    raise DataError(
        f"{part.source}: cannot tell which classes the labels {_listed(labels)} are. The run has the classes "
        f"{_listed(list(classes))}. Write these names into the file."
    )


def _possible_starts(labels: Sequence[str], count: int) -> list[int]:
    """Return 0, 1 or both: the numbers from which the sorted integer labels can count `count` classes."""
    if not are_integers(labels):
        return []
    return [start for start in (0, 1) if start <= int(labels[0]) and int(labels[-1]) < start + count]


def check_enough(labels: np.ndarray, classes: Sequence[str], source: str, parts: Sequence[str]) -> None:
    """Check that every class has a row for the training part and one for each part that is cut from it.

    Args:
        labels: class numbers of the training rows (rows,).
        classes: the names of the classes.
        source: source of the rows, for the message.
        parts: names of the parts that are cut.

    Raises:
        DataError: a class has too few rows.
    """
    for number, count in sorted(Counter(labels.tolist()).items()):
        if count < 1 + len(parts):
            options = " and ".join(f"--{part}" for part in parts)
            raise DataError(
                f"{source}: class '{classes[number]}' has {count} row{'s' * (count > 1)}, too few to split by class "
                f"into train and {' and '.join(parts)}. Add rows, give files with {options}, "
                f"or set --{parts[0]}-split 0."
            )


def _renamed(labels: Sequence[str], train: LabelledRows, config: DataConfig) -> tuple[str, ...]:
    names = config.class_names
    if train.classes is None and not are_integers(labels):
        raise DataError(
            f"{train.source}: class_names names integer labels, but the labels are {_listed(labels)}. "
            "Leave class_names out."
        )
    if len(names) != len(labels) or len(set(names)) != len(names):
        raise DataError(
            f"{train.source}: class_names has {len(names)} names ({_listed(names)}) for {len(labels)} labels "
            f"({_listed(labels)}). Give one different name for each."
        )
    return names


def _listed(names: Sequence[str], count: int = 12) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > count else ""
    return ", ".join(f"{name:.40}" for name in names[:count]) + more
