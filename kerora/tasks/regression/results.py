"""The results of the run of a regressor: its predictions, read, described and compared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kerora.errors import RunError
from kerora.evaluation.comparison import costs, different_settings, distinct_names, rate_notes
from kerora.evaluation.regression import (
    NUMBER_METRICS,
    PairedBootstrap,
    mean_prediction,
    number_intervals,
    paired_bootstrap,
    regression_metrics,
)
from kerora.evaluation.results import SPLIT_ORDER, RunResults, cell_number, read_csv
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
Key = tuple[str, str, int]


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


@dataclass(frozen=True)
class RegressionResults(RunResults):
    """The results of the run of a regressor.

    Attributes:
        splits: evaluated rows by split. The first one is reported by default.
    """

    splits: Mapping[str, SplitResults] = field(default_factory=dict)

    @property
    def evaluated(self) -> list[str]:
        """The splits. The first one is reported by default."""
        return [*self.splits, *(name for name in self.after if name not in self.splits)]

    def split(self, name: str | None = None) -> SplitResults:
        """Return the rows of a split. Default: test, else validation, else the first.

        Raises:
            RunError: the run has no predictions for that split.
        """
        if name is None:
            return next(iter(self.splits.values()))
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise RunError(f"{self.folder.predictions} holds no rows of split '{name}'. It holds: {known}.")
        return self.splits[name]


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
    if not groups:
        raise RunError(f"{path} holds no rows. Evaluate the run on labelled rows with `kerora evaluate`.")
    # a stable sort: other splits stay in the order of the file
    order = sorted(groups, key=lambda split: SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER))
    return {split: _gather(split, names, groups[split], (recorded or {}).get(split, {})) for split in order}


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
class Pair:
    """Two runs compared row by row.

    Attributes:
        first: name of one run.
        second: name of the other.
        shared: rows that both evaluated.
        different: rows with the same split and id whose text or numbers differ. They are left out.
        tests: paired bootstraps over the shared rows, by metric. None where there is no shared row or no value.
    """

    first: str
    second: str
    shared: int
    different: int
    tests: Mapping[str, PairedBootstrap | None]

    @property
    def test(self) -> PairedBootstrap | None:
        """The test of the RMSE, which decides."""
        return self.tests.get(COMPARED[0])

    @property
    def verdict(self) -> str:
        """The result of the test, in words."""
        if self.test is None:
            return "The runs have no rows in common, so there is no test."
        return "No significant difference." if self.winner is None else f"{self.winner} is significantly better."

    @property
    def winner(self) -> str | None:
        """Name of the run with a significantly lower RMSE at the 5 % level. None if neither has."""
        if self.test is None or self.test.p_value >= SIGNIFICANCE:
            return None
        return self.first if self.test.difference < 0 else self.second


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
    runs: tuple[RegressionResults, ...]
    splits: tuple[SplitResults, ...]
    pairs: tuple[Pair, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return names, splits, metrics, pairs, costs and notes as plain values."""
        return {
            "names": list(self.names),
            "splits": [split.name for split in self.splits],
            "metrics": [{key: split.metrics[key] for key in NUMBER_METRICS} for split in self.splits],
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


def compare(runs: Sequence[RegressionResults], split: str | None = None) -> Comparison:
    """Compare runs on a split.

    Args:
        runs: two runs or more.
        split: the split. None takes the first of test, validation, ... that all runs hold. If there is
            none, it takes the default split of each run.

    Raises:
        RunError: a run is given twice, or does not hold the split.
    """
    names = distinct_names(runs)
    if split is None:
        # the splits of a run are in the order of the report, so test comes first
        split = next((name for name in runs[0].splits if all(name in run.splits for run in runs)), None)
    splits = tuple(run.split(split) for run in runs)
    pairs = tuple(
        _pair(names[first], names[second], splits[first], splits[second])
        for first, second in combinations(range(len(runs)), 2)
    )
    return Comparison(names, tuple(runs), splits, pairs)


def _pair(first: str, second: str, a: SplitResults, b: SplitResults) -> Pair:
    places = _places(b)
    found = [(place, places[key]) for key, place in _places(a).items() if key in places]
    # equal ids do not prove equal rows, for example if ids are row numbers
    same = [(i, j) for i, j in found if a.texts[i] == b.texts[j] and np.array_equal(a.labels[i], b.labels[j])]
    tests: dict[str, PairedBootstrap | None] = dict.fromkeys(COMPARED)
    if same:
        rows_a, rows_b = np.array(same).T
        one, other = a.predicted[rows_a], b.predicted[rows_b]
        tests = {metric: paired_bootstrap(a.labels[rows_a], one, other, metric) for metric in COMPARED}
    return Pair(first, second, len(same), len(found) - len(same), tests)


def _places(split: SplitResults) -> dict[Key, int]:
    """Return the position of each row. The key counts how often the id occurred before, as ids may repeat."""
    seen: Counter[str] = Counter()
    places = {}
    for place, identifier in enumerate(split.ids):
        places[split.name, identifier, seen[identifier]] = place
        seen[identifier] += 1
    return places
