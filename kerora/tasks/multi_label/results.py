"""The results of a run with several labels per text: its predictions, read, described and compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import indicators
from kerora.errors import RunError
from kerora.evaluation.comparison import (
    costs,
    different_settings,
    distinct_names,
    rate_notes,
    row_places,
)
from kerora.evaluation.label_bootstrap import Difference, intervals, paired_differences
from kerora.evaluation.label_metrics import label_metrics
from kerora.evaluation.results import SPLIT_ORDER, RunResults, cell_number, read_csv
from kerora.evaluation.wording import decimal, state_notes
from kerora.runfolder import RunFolder
from kerora.tasks.multi_label.labels import TagLabels, read_tag_labels

PREDICTION_COLUMNS = ("id", "split", "text", "label", "predicted")
SIGNIFICANCE = 0.05
COMPARED = ("macro_f1", "micro_f1", "subset_accuracy")
"""The metrics of which runs are compared by a test. The first one gives the verdict."""


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


@dataclass(frozen=True)
class LabelResults(RunResults):
    """The run of a model with several labels per text.

    Attributes:
        splits: evaluated rows by split. The first one is reported by default.
    """

    splits: Mapping[str, LabelSplit] = field(default_factory=dict)

    @property
    def evaluated(self) -> list[str]:
        """The splits. The first one is reported by default."""
        return [*self.splits, *(name for name in self.after if name not in self.splits)]


def needed(run: RunFolder) -> Sequence[Path]:
    """Return predictions.csv and metrics.json."""
    return run.predictions, run.metrics


def read(common: Mapping[str, Any]) -> LabelResults:
    """Add the predictions to the results that every run has."""
    run: RunFolder = common["folder"]
    labels = read_tag_labels(run.labels) if run.labels.is_file() else None
    return LabelResults(**common, splits=read_predictions(run.predictions, labels, common["after"]))


def split(results: LabelResults, name: str | None) -> LabelSplit:
    """Return the rows of a split. Default: test, else validation, else the first.

    Raises:
        RunError: the run has no predictions for that split.
    """
    if name is None:
        return next(iter(results.splits.values()))
    if name not in results.splits:
        known = ", ".join(results.splits)
        raise RunError(f"{results.folder.predictions} holds no rows of split '{name}'. It holds: {known}.")
    return results.splits[name]


def summary(results: LabelResults, split: LabelSplit) -> dict[str, Any]:
    """Return rows, mistakes, metrics and intervals of the split."""
    return {
        "split": split.name,
        "rows": len(split),
        "mistakes": int((~split.correct).sum()),
        "metrics": split.metrics,
        "intervals": {key: list(ends) for key, ends in split.intervals.items()},
        "before": results.before.get(split.name),
    }


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
    if not groups:
        raise RunError(f"{path} holds no rows. Evaluate the run on labelled rows with `kerora evaluate`.")
    # a stable sort: other splits stay in the order of the file
    order = sorted(groups, key=lambda split: SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER))
    return {split: _gather(split, labels, groups[split], (recorded or {}).get(split, {})) for split in order}


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


def notes(results: LabelResults, split: LabelSplit) -> list[str]:
    """Return warnings that a reader should see before the numbers."""
    said = state_notes(results)
    if "test" not in results.splits and split.name == "validation":
        said.append(
            "There are no test rows. These are validation rows, and the thresholds were chosen for them. "
            "So the numbers are a little too good."
        )
    if not split.agrees:
        said.append(
            f"metrics.json gives the Hamming loss {decimal(split.recorded['hamming_loss'])} for {split.name}, but "
            f"predictions.csv gives {decimal(split.hamming)}. The report shows the numbers of predictions.csv."
        )
    absent = [split.classes[place] for place in np.flatnonzero(~split.labels.any(axis=0))]
    if absent:
        listed = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        said.append(
            f"There are no {split.name} rows with the label {listed}. Macro F1 counts such a label as 0, and the mean "
            "average precision leaves it out."
        )
    if not split.predicted.any() and split.labels.any():
        said.append(
            f"The model gives no label to any {split.name} row. Train longer, or change --learning-rate or --threshold."
        )
    return said


@dataclass(frozen=True)
class Pair:
    """Two runs compared row by row.

    Attributes:
        first: name of one run.
        second: name of the other.
        shared: rows that both evaluated.
        different: rows with the same split and id whose text or labels differ. They are left out.
        tests: the paired bootstrap of each metric of `COMPARED` over the shared rows. Empty without a test.
    """

    first: str
    second: str
    shared: int
    different: int
    tests: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The result of the test of macro F1, in words."""
        if not self.tests:
            return "The runs have no rows and labels in common, so there is no test."
        if self.winner is None:
            return "No significant difference."
        return f"{self.winner} is significantly better."

    @property
    def winner(self) -> str | None:
        """Name of the run with the significantly higher macro F1 at the 5 % level. None if neither is."""
        test = self.tests.get(COMPARED[0])
        if test is None or test.p_value >= SIGNIFICANCE:
            return None
        return self.first if test.value > 0 else self.second


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        names: one name per run. All names differ.
        runs: the runs, in the order given.
        splits: the compared rows, one split per run.
        pairs: every pair of runs.
    """

    names: tuple[str, ...]
    runs: tuple[LabelResults, ...]
    splits: tuple[LabelSplit, ...]
    pairs: tuple[Pair, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return names, splits, pairs, costs and notes as plain values."""
        return {
            "names": list(self.names),
            "splits": [split.name for split in self.splits],
            "pairs": [{**asdict(pair), "verdict": pair.verdict} for pair in self.pairs],
            "costs": [asdict(cost) for cost in costs(self.names, self.runs)],
            "notes": self.notes(),
        }

    def notes(self) -> list[str]:
        """Return what a reader should know before the comparison."""
        said = rate_notes(self.names, self.runs)
        if len({split.name for split in self.splits}) > 1:
            said.insert(0, "The runs have no evaluated split in common, so the rows do not all show the same split.")
        return said

    def different_settings(self) -> dict[str, list[Any]]:
        """Return the settings that differ between the runs, with one value per run. None stands for no value."""
        return different_settings(self.runs)


def compare(runs: Sequence[LabelResults], name: str | None = None) -> Comparison:
    """Compare runs on a split.

    Args:
        runs: two runs or more.
        name: the split. None takes the first of test, validation, ... that all runs hold. If there is none, it takes
            the default split of each run.

    Raises:
        RunError: a run is given twice, or does not hold the split.
    """
    names = distinct_names(runs)
    if name is None:
        # the splits of a run are in the order of the report, so test comes first
        name = next((found for found in runs[0].splits if all(found in run.splits for run in runs)), None)
    splits = tuple(split(run, name) for run in runs)
    pairs = tuple(
        _pair(names[first], names[second], splits[first], splits[second])
        for first, second in combinations(range(len(runs)), 2)
    )
    return Comparison(names, tuple(runs), splits, pairs)


def _pair(first: str, second: str, a: LabelSplit, b: LabelSplit) -> Pair:
    places = row_places(b.name, b.ids)
    found = [(place, places[key]) for key, place in row_places(a.name, a.ids).items() if key in places]
    order = _order(a, b)
    if order is None or not found:
        return Pair(first, second, 0, len(found))
    # Equal ids do not prove equal rows, for example if ids are row numbers. A paired test needs equal rows.
    rows = [(i, j) for i, j in found if a.texts[i] == b.texts[j] and (a.labels[i] == b.labels[j, order]).all()]
    if not rows:
        return Pair(first, second, 0, len(found))
    ours, theirs = (list(side) for side in zip(*rows, strict=True))
    truth, one, other = a.labels[ours], a.predicted[ours], b.predicted[theirs][:, order]
    values = {
        name: left - right
        for (name, left), right in zip(
            _measured(truth, one), (value for _, value in _measured(truth, other)), strict=True
        )
    }
    return Pair(first, second, len(rows), len(found) - len(rows), paired_differences(truth, one, other, values))


def _order(a: LabelSplit, b: LabelSplit) -> list[int] | None:
    """Return the column in `b` of each label of `a`, by names, or by the labels of the data; None if they differ."""
    for ours, theirs in ((a.classes, b.classes), (a.values, b.values)):
        if ours and sorted(ours) == sorted(theirs):
            return [theirs.index(name) for name in ours]
    return None


def _measured(truth: np.ndarray, answers: np.ndarray) -> Iterator[tuple[str, float]]:
    found = label_metrics(truth, answers.astype(np.float64), list(map(str, range(truth.shape[1]))),
                          np.full(truth.shape[1], 0.5))  # fmt: skip
    yield from ((name, float(found[name])) for name in COMPARED)
