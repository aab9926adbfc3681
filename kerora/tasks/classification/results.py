"""The results of the run of a classifier: its predictions, read, described and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.classes import ClassLabels
from kerora.errors import RunError
from kerora.evaluation.coverage import CoverageCurve, coverage_curve
from kerora.evaluation.metrics import Calibration, calibration, classification_metrics, confusion_matrix
from kerora.evaluation.results import cell_number, read_csv
from kerora.evaluation.row_results import (
    NO_ROWS,
    RowComparison,
    RowResults,
    RunPair,
    compare_runs,
    in_report_order,
    rows_in_both,
)
from kerora.evaluation.significance import SIGNIFICANCE, McNemar, accuracy, bootstrap_interval, macro_f1, mcnemar
from kerora.evaluation.verdict import baseline_line
from kerora.evaluation.wording import decimal, state_notes
from kerora.models.probabilities import softmax
from kerora.runfolder import RunFolder
from kerora.tasks.classification.majority import majority_note, supports_of
from kerora.tasks.whole_text.labels import read_labels

PREDICTION_COLUMNS = ("id", "split", "text", "label", "predicted", "score")


@dataclass(frozen=True)
class SplitResults:
    """The evaluated rows of one split.

    Attributes:
        name: the split, such as ``test``.
        classes: class names in the order of their numbers.
        ids: identifiers of the rows.
        texts: texts of the rows. predictions.csv holds only their first 500 characters.
        labels: true class numbers, shape (rows,).
        predicted: predicted class numbers, shape (rows,).
        scores: probability of the predicted class, shape (rows,).
        probabilities: shape (rows, classes).
        recorded: the metrics of this split after training in metrics.json. Empty if there are none.
        values: the label of each class in the training data of the run. Empty if unknown.
        temperature: the number that divided the logits. 1 if none was fitted.
    """

    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    recorded: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    temperature: float = 1.0

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each prediction is right, shape (rows,)."""
        return np.asarray(self.labels == self.predicted)

    @cached_property
    def matrix(self) -> np.ndarray:
        """The confusion matrix, shape (classes, classes)."""
        return confusion_matrix(self.labels, self.predicted, len(self.classes))

    @cached_property
    def calibration(self) -> Calibration:
        """The accuracy by confidence."""
        return calibration(self.labels, self.probabilities, self.predicted)

    @cached_property
    def uncalibrated(self) -> Calibration | None:
        """The accuracy by confidence without the temperature. None if none was fitted."""
        if self.temperature == 1:
            return None
        # the logits, except for a constant in each row; a probability that is written as 0 is below 0.0000005
        logits = self.temperature * np.log(np.clip(self.probabilities, 2.5e-7, None))
        return calibration(self.labels, softmax(logits), self.predicted)

    @cached_property
    def coverage(self) -> CoverageCurve:
        """The accuracy of the answers if those with a low probability are withheld."""
        return coverage_curve(self.scores, self.correct)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics. They come from metrics.json if it describes these rows, else from the predictions."""
        # predictions.csv holds six decimals: metrics.json is more exact, but may be older than the predictions
        # with the predicted classes of the file, as six decimals can make two probabilities equal
        computed = classification_metrics(self.labels, self.probabilities, self.classes, predicted=self.predicted)
        if self.uncalibrated is not None:
            computed["ece_uncalibrated"] = self.uncalibrated.error
        if not self.agrees:
            return computed
        # single numbers alone: per_class stays that of these rows
        recorded = {key: value for key, value in self.recorded.items() if isinstance(value, int | float)}
        return {key: recorded.get(key, value) for key, value in computed.items()}

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Bootstrap 95 % intervals of accuracy and macro F1."""
        count = len(self.classes)
        return {
            name: bootstrap_interval(self.labels, self.predicted, metric, count=count)
            for name, metric in (("accuracy", accuracy), ("macro_f1", macro_f1))
        }

    @property
    def agrees(self) -> bool:
        """Whether metrics.json gives the accuracy of these rows, or no accuracy."""
        # one row more or less right changes the accuracy by 1 / rows
        value = self.recorded.get("accuracy")
        return not isinstance(value, int | float) or abs(value - float(self.correct.mean())) < 0.5 / len(self)

    def mistakes(self) -> list[int]:
        """Return the positions of the wrong predictions, most confident first."""
        wrong = np.flatnonzero(~self.correct)
        # stable: mistakes of equal confidence stay in the order of the rows
        return [int(place) for place in wrong[np.argsort(-self.scores[wrong], kind="stable")]]


ClassificationResults = RowResults[SplitResults]
"""The run of a classifier."""


def needed(run: RunFolder) -> Sequence[Path]:
    """Return predictions.csv and metrics.json."""
    return run.predictions, run.metrics


def read(common: Mapping[str, Any]) -> ClassificationResults:
    """Add the predictions to the results that every run has."""
    run: RunFolder = common["folder"]
    labels = read_labels(run.labels) if run.labels.is_file() else None
    splits = read_predictions(run.predictions, labels, common["after"])
    return ClassificationResults(**common, splits=splits)


def split(results: ClassificationResults, name: str | None) -> SplitResults:
    """Return the rows of a split."""
    return results.split(name)


def summary(results: ClassificationResults, split: SplitResults) -> dict[str, Any]:
    """Return rows, mistakes, metrics and intervals of the split."""
    return {
        "split": split.name,
        "rows": len(split),
        "mistakes": int((~split.correct).sum()),
        "metrics": split.metrics,
        "intervals": {key: list(ends) for key, ends in split.intervals.items()},
        "before": results.before.get(split.name),
        "baseline": results.baseline.get(split.name),
        "verdict": baseline_line(results, split.name),
    }


def read_predictions(
    path: Path, labels: ClassLabels | None = None, recorded: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, SplitResults]:
    """Read predictions.csv and group the rows by split.

    Args:
        path: the file.
        labels: the classes of the run. None takes the names and the order of the ``p_`` columns.
        recorded: the metrics in metrics.json by split. They are kept with the rows.

    Returns:
        The splits in the order test, validation, others.

    Raises:
        RunError: a column is missing, a value is invalid, or there are no rows.
    """
    header, lines = read_csv(path)
    names = tuple(column.removeprefix("p_") for column in header if column.startswith("p_"))
    labels = labels or ClassLabels(names)
    names = labels.names
    wanted = [*PREDICTION_COLUMNS, *(f"p_{name}" for name in names)]
    missing = [column for column in wanted if column not in header]
    if missing or not names:
        lacking = ", ".join(missing) or "p_<class>"
        raise RunError(f"{path} lacks the column(s) {lacking}. Write it again with `kerora evaluate`.")
    places = [header.index(column) for column in wanted]
    groups: dict[str, list[list[Any]]] = {}
    for number, line in lines:
        row = _prediction(path, number, wanted, [line[place] for place in places], names)
        groups.setdefault(row[1], []).append(row)
    found = in_report_order(path, groups).items()
    return {split: _gather(split, labels, rows, (recorded or {}).get(split, {})) for split, rows in found}


def _prediction(path: Path, line: int, columns: Sequence[str], values: list[str], classes: Sequence[str]) -> list[Any]:
    # id, split, text, two class numbers, score, and a probability for each class
    row: list[Any] = values[:3]
    for column, value in zip(columns[3:5], values[3:5], strict=True):
        if value not in classes:
            known = ", ".join(classes)
            raise RunError(f"{path}, line {line}: {column} {value!r} is not a class of this run. Classes: {known}.")
        row.append(classes.index(value))
    row += [cell_number(path, line, column, value) for column, value in zip(columns[5:], values[5:], strict=True)]
    return row


def _gather(split: str, classes: ClassLabels, rows: list[list[Any]], recorded: Mapping[str, Any]) -> SplitResults:
    numbers = np.array([row[5:] for row in rows], dtype=np.float64)
    labels, predicted = np.array([row[3:5] for row in rows], dtype=np.int64).T
    ids, texts = tuple(row[0] for row in rows), tuple(row[2] for row in rows)
    # (rows,) and (rows, classes)
    scores, probabilities = numbers[:, 0], numbers[:, 1:]
    return SplitResults(
        *(split, classes.names, ids, texts, labels, predicted, scores, probabilities, recorded),
        classes.values,
        classes.temperature,
    )


@dataclass(frozen=True)
class Confusion:
    """One kind of mistake.

    Attributes:
        true: the true class's number.
        predicted: the class that was predicted instead.
        rows: number of such rows.
        percent: their share of the rows of the true class, in per cent.
    """

    true: int
    predicted: int
    rows: int
    percent: float


def most_confused(split: SplitResults, count: int = 10) -> list[Confusion]:
    """Return the most frequent mistakes, in falling order of their rows."""
    matrix = split.matrix.copy()
    totals = matrix.sum(axis=1)
    # the diagonal holds the right predictions
    np.fill_diagonal(matrix, 0)
    # stable: equal counts stay in the order of the classes
    places = np.argsort(-matrix, axis=None, kind="stable")[:count]
    found = []
    for true, predicted in zip(*np.unravel_index(places, matrix.shape), strict=True):
        rows = int(matrix[true, predicted])
        if rows:
            found.append(Confusion(int(true), int(predicted), rows, 100 * rows / int(totals[true])))
    return found


def notes(results: ClassificationResults, split: SplitResults) -> list[str]:
    """Return warnings that a reader should see before the numbers."""
    said = state_notes(results)
    if "test" not in results.splits and split.name == "validation":
        said.append(
            "There are no test rows. These are validation rows, and early stopping may have used them. "
            "So the numbers can be a little too good."
        )
    if not split.agrees:
        said.append(
            f"metrics.json gives accuracy {decimal(split.recorded['accuracy'])} for {split.name}, but predictions.csv "
            f"gives {decimal(float(split.correct.mean()))}. The report shows the numbers of predictions.csv."
        )
    weak = majority_note(split.name, split.metrics, supports_of(split.metrics))
    if weak:
        said.append(weak)
    # a row of the matrix holds the rows of one true class
    absent = [split.classes[place] for place in np.flatnonzero(split.matrix.sum(axis=1) == 0)]
    if absent:
        listed = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        said.append(f"There are no {split.name} rows of class {listed}. Macro averages count such a class as 0.")
    return said


@dataclass(frozen=True)
class Pair(RunPair):
    """Two runs compared row by row. Rows whose text or label differs are left out.

    Attributes:
        test: McNemar's test over the shared rows. None if there are no shared rows.
    """

    test: McNemar | None

    @property
    def untested(self) -> str | None:
        """Why there is no test, in words. None if there is one."""
        return NO_ROWS if self.test is None else None

    @property
    def winner(self) -> str | None:
        """Name of the run that is significantly better at the 5 % level. None if neither is."""
        if self.test is None or self.test.p_value >= SIGNIFICANCE:
            return None
        # b counts the rows that only the first run got right
        return self.first if self.test.b > self.test.c else self.second


class Comparison(RowComparison[SplitResults, Pair]):
    """Several classifiers side by side."""


def compare(runs: Sequence[ClassificationResults], split: str | None = None) -> Comparison:
    """Compare runs on a split; see `compare_runs`."""
    return compare_runs(Comparison, runs, split, _pair)


def _pair(first: str, second: str, a: SplitResults, b: SplitResults) -> Pair:
    found = rows_in_both(a, b)
    # McNemar's test needs equal rows
    same = [(i, j) for i, j in found if a.texts[i] == b.texts[j] and _is_same_label(a, a.labels[i], b, b.labels[j])]
    test = None
    if same:
        rows_a, rows_b = np.array(same).T
        test = mcnemar(a.correct[rows_a], b.correct[rows_b])
    return Pair(first, second, len(same), len(found) - len(same), test)


def _is_same_label(a: SplitResults, i: int, b: SplitResults, j: int) -> bool:
    # one run may have renamed the labels of the same data
    if a.classes[i] == b.classes[j]:
        return True
    return bool(a.values and b.values) and a.values[i] == b.values[j]
