"""The results of the run of a regressor: its predictions, read, described and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kerora.errors import RunError
from kerora.evaluation.regression import (
    NUMBER_METRICS,
    PairedBootstrap,
    mean_prediction,
    number_intervals,
    paired_bootstrap,
    regression_metrics,
)
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
from kerora.evaluation.significance import SIGNIFICANCE
from kerora.evaluation.wording import decimal, state_notes
from kerora.runfolder import RunFolder
from kerora.tasks.regression.labels import read_targets
from kerora.tasks.regression.predict import number_columns

FIRST_COLUMNS = ("id", "split", "text")
# predictions.csv holds nine digits
ROUNDING = 1e-5
COMPARED = ("rmse", "pearson")
"""The metrics whose difference between two runs is tested. The first one names the better run."""


@dataclass(frozen=True)
class SplitResults:
    """The evaluated rows of one split.

    Attributes:
        name: the split, such as ``test``.
        targets: names of the targets.
        ids: identifiers of the rows.
        texts: texts of the rows. predictions.csv holds only their first 500 characters.
        labels: true numbers, shape (rows, targets).
        predicted: predicted numbers, shape (rows, targets).
        recorded: the metrics of this split after training in metrics.json. Empty if there are none.
    """

    name: str
    targets: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    recorded: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    @cached_property
    def computed(self) -> dict[str, Any]:
        """The metrics of the rows in predictions.csv, which does not hold the loss."""
        return regression_metrics(self.labels, self.predicted, self.targets)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics. They come from metrics.json if it describes these rows, else from the predictions."""
        if not self.agrees:
            return self.computed
        return {key: self.recorded.get(key, value) for key, value in self.computed.items()}

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float] | None]:
        """Bootstrap 95 % intervals of all metrics except the loss."""
        return number_intervals(self.labels, self.predicted)

    @cached_property
    def mean(self) -> dict[str, float]:
        """MAE and RMSE of always predicting the mean of these rows."""
        return mean_prediction(self.labels)

    @property
    def agrees(self) -> bool:
        """Whether metrics.json gives the MAE of these rows, or no MAE."""
        value = self.recorded.get("mae")
        return not isinstance(value, int | float) or abs(value - self.computed["mae"]) <= ROUNDING * abs(value) + 1e-12

    @cached_property
    def sizes(self) -> np.ndarray:
        """The absolute error of each row in standard deviations of the true numbers, the largest of its targets."""
        spread = self.labels.std(axis=0)
        errors = np.abs(self.predicted - self.labels) / np.where(spread > 0, spread, 1.0)
        return np.asarray(errors.max(axis=1))

    def largest(self) -> list[int]:
        """Return the positions of the rows, largest error first."""
        # stable: equal errors stay in the order of the rows
        return [int(place) for place in np.argsort(-self.sizes, kind="stable")]


RegressionResults = RowResults[SplitResults]
"""The results of the run of a regressor."""


def needed(run: RunFolder) -> Sequence[Path]:
    """Return predictions.csv, metrics.json and labels.json."""
    return run.predictions, run.metrics, run.labels


def read(common: Mapping[str, Any]) -> RegressionResults:
    """Add the predictions to the results that every run has."""
    run: RunFolder = common["folder"]
    names = read_targets(run.labels).names
    return RegressionResults(**common, splits=read_predictions(run.predictions, names, common["after"]))


def split(results: RegressionResults, name: str | None) -> SplitResults:
    """Return the rows of a split."""
    return results.split(name)


def summary(results: RegressionResults, split: SplitResults) -> dict[str, Any]:
    """Return rows, metrics and intervals of the split, and the metrics of predicting the mean."""
    return {
        "split": split.name,
        "rows": len(split),
        "metrics": split.metrics,
        "intervals": {key: None if ends is None else list(ends) for key, ends in split.intervals.items()},
        "mean_prediction": split.mean,
        "before": results.before.get(split.name),
    }


def read_predictions(
    path: Path, names: tuple[str, ...], recorded: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, SplitResults]:
    """Read predictions.csv and group the rows by split.

    Args:
        path: the file.
        names: names of the targets.
        recorded: the metrics in metrics.json by split. They are kept with the rows.

    Returns:
        The splits in the order test, validation, others.

    Raises:
        RunError: a column is missing, a value is invalid, or there are no rows.
    """
    header, lines = read_csv(path)
    numbers = [*number_columns("label", names), *number_columns("predicted", names)]
    missing = [column for column in (*FIRST_COLUMNS, *numbers) if column not in header]
    if missing:
        raise RunError(f"{path} lacks the column(s) {', '.join(missing)}. Write it again with `kerora evaluate`.")
    first, places = ([header.index(column) for column in wanted] for wanted in (FIRST_COLUMNS, numbers))
    groups: dict[str, list[tuple[str, str, list[float]]]] = {}
    for number, line in lines:
        identifier, name, text = (line[place] for place in first)
        values = [cell_number(path, number, column, line[place]) for column, place in zip(numbers, places, strict=True)]
        groups.setdefault(name, []).append((identifier, text, values))
    found = in_report_order(path, groups).items()
    return {split: _gather(split, names, rows, (recorded or {}).get(split, {})) for split, rows in found}


def _gather(
    split: str, names: tuple[str, ...], rows: list[tuple[str, str, list[float]]], recorded: Mapping[str, Any]
) -> SplitResults:
    ids, texts, values = zip(*rows, strict=True)
    numbers = np.array(values, np.float64)
    return SplitResults(split, names, ids, texts, numbers[:, : len(names)], numbers[:, len(names) :], recorded)


def notes(results: RegressionResults, split: SplitResults) -> list[str]:
    """Return warnings that a reader should see before the numbers."""
    said = state_notes(results)
    if "test" not in results.splits and split.name == "validation":
        said.append(
            "There are no test rows. These are validation rows, and early stopping may have used them. "
            "So the numbers can be a little too good."
        )
    if not split.agrees:
        said.append(
            f"metrics.json gives MAE {decimal(split.recorded['mae'])} for {split.name}, but predictions.csv "
            f"gives {decimal(split.computed['mae'])}. The report shows the numbers of predictions.csv."
        )
    said += filter(None, [mean_note(split.name, split.metrics, split.mean)])
    constant = [
        name for name, column in zip(split.targets, split.predicted.T, strict=True) if column.min() == column.max()
    ]
    if constant and len(split) > 1:
        said.append(f"All predictions of {', '.join(constant[:5])} are equal, so there is no correlation.")
    return said


def mean_note(split: str, metrics: Mapping[str, Any], mean: Mapping[str, float]) -> str | None:
    """Return a sentence if the model is not better than predicting the mean of the rows, else None."""
    if metrics["rmse"] < mean["rmse"]:
        return None
    return (
        f"The model is not better than always predicting the mean of the {split} rows: RMSE {decimal(metrics['rmse'])} "
        f"against {decimal(mean['rmse'])}. Train longer, or change --learning-rate."
    )


@dataclass(frozen=True)
class Pair(RunPair):
    """Two runs compared row by row. Rows whose text or numbers differ are left out.

    Attributes:
        tests: paired bootstraps over the shared rows, by metric. None where there is no shared row or no value.
    """

    tests: Mapping[str, PairedBootstrap | None]

    @property
    def test(self) -> PairedBootstrap | None:
        """The test of the RMSE, which decides."""
        return self.tests.get(COMPARED[0])

    @property
    def untested(self) -> str | None:
        """Why there is no test, in words. None if there is one."""
        return NO_ROWS if self.test is None else None

    @property
    def winner(self) -> str | None:
        """Name of the run with a significantly lower RMSE at the 5 % level. None if neither has."""
        if self.test is None or self.test.p_value >= SIGNIFICANCE:
            return None
        return self.first if self.test.difference < 0 else self.second


class Comparison(RowComparison[SplitResults, Pair]):
    """Several regressors side by side."""

    def details(self) -> dict[str, Any]:
        """Return the metrics of each run."""
        return {"metrics": [{key: split.metrics[key] for key in NUMBER_METRICS} for split in self.splits]}


def compare(runs: Sequence[RegressionResults], split: str | None = None) -> Comparison:
    """Compare runs on a split; see `compare_runs`."""
    return compare_runs(Comparison, runs, split, _pair)


def _pair(first: str, second: str, a: SplitResults, b: SplitResults) -> Pair:
    found = rows_in_both(a, b)
    same = [(i, j) for i, j in found if a.texts[i] == b.texts[j] and np.array_equal(a.labels[i], b.labels[j])]
    tests: dict[str, PairedBootstrap | None] = dict.fromkeys(COMPARED)
    if same:
        rows_a, rows_b = np.array(same).T
        one, other = a.predicted[rows_a], b.predicted[rows_b]
        tests = {metric: paired_bootstrap(a.labels[rows_a], one, other, metric) for metric in COMPARED}
    return Pair(first, second, len(same), len(found) - len(same), tests)
