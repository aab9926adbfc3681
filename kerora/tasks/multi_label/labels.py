"""labels.json of a run with several labels per text: the names, and the thresholds."""

from dataclasses import dataclass
from pathlib import Path

from kerora.data.classes import ClassLabels
from kerora.errors import RunError
from kerora.runfolder import read_json, write_json
from kerora.tasks.whole_text.labels import read_labels, write_labels


@dataclass(frozen=True)
class TagLabels(ClassLabels):
    """The labels of a trained run.

    Attributes:
        names: the names in the order of their numbers.
        values: the label of each class in the training data.
        thresholds: the probability from which on a row gets each label.
    """

    thresholds: tuple[float, ...] = ()


def read_tag_labels(path: Path) -> TagLabels:
    """Read labels.json. Without thresholds, all are 0.5.

    Raises:
        RunError: the file is missing or damaged.
    """
    labels = read_labels(path)
    given = read_json(path).get("thresholds", [0.5] * len(labels.names))
    # a bool is an int in Python, but true is no threshold; NaN fails the comparison
    good = isinstance(given, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1 for value in given
    )
    if not good or len(given) != len(labels.names):
        raise RunError(
            f"{path} is damaged: 'thresholds' must be a list of {len(labels.names)} numbers from 0 to 1. "
            f"Received: {given!r:.100}"
        )
    return TagLabels(labels.names, labels.values, thresholds=tuple(map(float, given)))


def write_tag_labels(path: Path, labels: TagLabels) -> None:
    """Write labels.json."""
    write_labels(path, labels)
    write_json(path, {**read_json(path), "thresholds": list(labels.thresholds)})
