"""The predictions of a model with several labels per text, read from predictions.csv."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import indicators
from kerora.errors import RunError
from kerora.evaluation.label_bootstrap import intervals
from kerora.evaluation.label_metrics import label_metrics
from kerora.evaluation.results import cell_number, read_csv
from kerora.evaluation.row_results import in_report_order
from kerora.tasks.multi_label.labels import TagLabels

PREDICTION_COLUMNS = ("id", "split", "text", "label", "predicted")


@dataclass(frozen=True)
class LabelSplit:
    """The evaluated rows of one split.

    Attributes:
        name: the split, such as ``test``.
        classes: names of the labels in the order of their numbers.
        ids: identifiers of the rows.
        texts: texts of the rows. predictions.csv holds only their first 500 characters.
        labels: whether each row has each label, bool (rows, classes).
        predicted: which labels are predicted, bool (rows, classes).
        probabilities: shape (rows, classes).
        thresholds: the probability from which on each label is predicted, (classes,).
        recorded: the metrics of this split after training in metrics.json. Empty if there are none.
        values: the label of each class in the training data of the run. Empty if unknown.
    """

    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray
    recorded: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether all labels of each row are right, bool (rows,)."""
        return np.asarray((self.labels == self.predicted).all(axis=1))

    @cached_property
    def counts(self) -> np.ndarray:
        """Of each label the rows that have it and got it, lack it and got it, have it and lack it here, and neither.

        That is true positives, false positives, false negatives and true negatives, (classes, 4).
        """
        truth, answers = self.labels, self.predicted
        cells = (truth & answers, ~truth & answers, truth & ~answers, ~truth & ~answers)
        return np.stack([cell.sum(axis=0) for cell in cells], axis=1)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics. They come from metrics.json if it describes these rows, else from the predictions."""
        # predictions.csv holds six decimals: metrics.json is more exact, but may be older than the predictions
        computed = label_metrics(self.labels, self.probabilities, self.classes, self.thresholds, self.predicted)
        if not self.agrees:
            return computed
        # single numbers alone: per_class stays that of these rows
        recorded = {key: value for key, value in self.recorded.items() if isinstance(value, int | float)}
        return {key: recorded.get(key, value) for key, value in computed.items()}

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Bootstrap 95 % intervals of the metrics that are functions of counts."""
        return intervals(self.labels, self.predicted)

    @property
    def hamming(self) -> float:
        """The share of wrong answers."""
        return float((self.labels != self.predicted).mean())

    @property
    def agrees(self) -> bool:
        """Whether metrics.json gives the Hamming loss of these rows, or none."""
        # one answer more or less right changes it by 1 / (rows * classes)
        value = self.recorded.get("hamming_loss")
        return not isinstance(value, int | float) or abs(value - self.hamming) < 0.5 / self.labels.size

    @cached_property
    def confused(self) -> np.ndarray:
        """Rows in which one label was missed while another was given wrongly, (missed, given)."""
        missed, given = self.labels & ~self.predicted, self.predicted & ~self.labels
        # float32: the product of integer matrices is slow, and counts up to 16 million are exact
        return np.asarray(missed.astype(np.float32).T @ given.astype(np.float32)).astype(np.int64)

    @cached_property
    def missed_together(self) -> np.ndarray:
        """Rows in which two labels were both missed, (classes, classes). Only the upper triangle is filled."""
        missed = (self.labels & ~self.predicted).astype(np.float32)
        return np.triu(missed.T @ missed, k=1).astype(np.int64)

    def mistakes(self) -> list[int]:
        """Return the positions of the rows with a wrong answer, those farthest from their threshold first."""
        margins = np.abs(self.probabilities - self.thresholds)
        worst = np.where(self.labels != self.predicted, margins, -1.0).max(axis=1)
        wrong = np.flatnonzero(~self.correct)
        # stable: mistakes of equal margin stay in the order of the rows
        return [int(place) for place in wrong[np.argsort(-worst[wrong], kind="stable")]]


def read_predictions(
    path: Path, labels: TagLabels | None = None, recorded: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, LabelSplit]:
    """Read predictions.csv and group the rows by split.

    Args:
        path: the file.
        labels: the labels of the run. None takes the names and the order of the ``p_`` columns.
        recorded: the metrics in metrics.json by split. They are kept with the rows.

    Returns:
        The splits in the order test, validation, others.

    Raises:
        RunError: a column is missing, a value is invalid, or there are no rows.
    """
    header, lines = read_csv(path)
    names = tuple(column.removeprefix("p_") for column in header if column.startswith("p_"))
    labels = labels or TagLabels(names, thresholds=(0.5,) * len(names))
    wanted = [*PREDICTION_COLUMNS, *(f"p_{name}" for name in labels.names)]
    missing = [column for column in wanted if column not in header]
    if missing or not labels.names:
        lacking = ", ".join(missing) or "p_<class>"
        raise RunError(f"{path} lacks the column(s) {lacking}. Write it again with `kerora evaluate`.")
    places = [header.index(column) for column in wanted]
    numbers = {name: number for number, name in enumerate(labels.names)}
    groups: dict[str, list[list[Any]]] = {}
    for number, line in lines:
        row = _prediction(path, number, wanted, [line[place] for place in places], numbers)
        groups.setdefault(row[1], []).append(row)
    found = in_report_order(path, groups).items()
    return {split: _gather(split, labels, rows, (recorded or {}).get(split, {})) for split, rows in found}


def _prediction(
    path: Path, line: int, columns: Sequence[str], values: list[str], numbers: Mapping[str, int]
) -> list[Any]:
    # id, split, text, two sets of class numbers, and a probability for each label
    row: list[Any] = values[:3]
    for column, value in zip(columns[3:5], values[3:5], strict=True):
        try:
            names = json.loads(value)
        except ValueError:
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) and name in numbers for name in names):
            known = ", ".join(numbers)
            raise RunError(
                f"{path}, line {line}: {column} must be a JSON list of labels of this run. Received: {value!r:.100}. "
                f"Labels: {known}."
            )
        row.append(tuple(numbers[name] for name in names))
    return row + [cell_number(path, line, name, text) for name, text in zip(columns[5:], values[5:], strict=True)]


def _gather(split: str, labels: TagLabels, rows: list[list[Any]], recorded: Mapping[str, Any]) -> LabelSplit:
    count = len(labels.names)
    return LabelSplit(
        split,
        labels.names,
        tuple(row[0] for row in rows),
        tuple(row[2] for row in rows),
        indicators([row[3] for row in rows], count),
        indicators([row[4] for row in rows], count),
        np.array([row[5:] for row in rows], dtype=np.float64),
        np.array(labels.thresholds),
        recorded,
        labels.values,
    )


@dataclass(frozen=True)
class LabelPair:
    """Two labels and the rows of a kind of mistake with both.

    Attributes:
        first: number of the label that was missed.
        second: number of the label that was given wrongly, or missed too.
        rows: number of such rows.
        percent: their share of the rows with the first label, in per cent.
    """

    first: int
    second: int
    rows: int
    percent: float


def most_of(matrix: np.ndarray, totals: np.ndarray, count: int = 10) -> list[LabelPair]:
    """Return the largest counts of a matrix of labels, in falling order.

    Args:
        matrix: rows by two labels, (classes, classes).
        totals: rows that have each label, (classes,).
        count: how many to return at most.
    """
    # stable: equal counts stay in the order of the labels
    places = np.argsort(-matrix, axis=None, kind="stable")[:count]
    pairs = zip(*np.unravel_index(places, matrix.shape), strict=True)
    return [
        LabelPair(int(a), int(b), int(matrix[a, b]), 100 * int(matrix[a, b]) / max(1, int(totals[a])))
        for a, b in pairs
        if matrix[a, b]
    ]
