"""The results of a run with several labels per text: its predictions, read, described and compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kerora.errors import RunError
from kerora.evaluation.comparison import (
    costs,
    different_settings,
    distinct_names,
    rate_notes,
    row_places,
)
from kerora.evaluation.label_bootstrap import TestedDifference, paired_differences
from kerora.evaluation.label_metrics import label_metrics
from kerora.evaluation.results import RunResults
from kerora.evaluation.significance import SIGNIFICANCE
from kerora.evaluation.verdict import RunBaseline, baseline_line, run_baselines
from kerora.evaluation.wording import decimal, state_notes
from kerora.runfolder import RunFolder
from kerora.tasks.multi_label.labels import read_tag_labels
from kerora.tasks.multi_label.predictions import LabelSplit, read_predictions

COMPARED = ("macro_f1", "micro_f1", "subset_accuracy")
"""The metrics of which runs are compared by a test. The first one gives the verdict."""


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
        "baseline": results.baseline.get(split.name),
        "verdict": baseline_line(results, split.name),
    }


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
    tests: Mapping[str, TestedDifference] = field(default_factory=dict)

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
            "baselines": [asdict(row) for row in self.baselines()],
            "notes": self.notes(),
        }

    def notes(self) -> list[str]:
        """Return what a reader should know before the comparison."""
        said = rate_notes(self.names, self.runs)
        if len({split.name for split in self.splits}) > 1:
            said.insert(0, "The runs have no evaluated split in common, so the rows do not all show the same split.")
        return said

    def baselines(self) -> list[RunBaseline]:
        """Return the runs beside their baselines."""
        return run_baselines(self.names, self.runs, {split.name for split in self.splits})

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
