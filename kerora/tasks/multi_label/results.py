"""The results of a run with several labels per text: its predictions, read, described and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kerora.evaluation.label_bootstrap import TestedDifference, paired_differences
from kerora.evaluation.label_metrics import label_metrics
from kerora.evaluation.row_results import RowComparison, RowResults, RunPair, compare_runs, rows_in_both
from kerora.evaluation.significance import SIGNIFICANCE
from kerora.evaluation.thresholds import HALF
from kerora.evaluation.verdict import baseline_line
from kerora.evaluation.wording import decimal, state_notes
from kerora.runfolder import RunFolder
from kerora.tasks.multi_label.labels import read_tag_labels
from kerora.tasks.multi_label.predictions import LabelSplit, read_predictions

COMPARED = ("macro_f1", "micro_f1", "subset_accuracy")
"""The metrics of which runs are compared by a test. The first one gives the verdict."""


LabelResults = RowResults[LabelSplit]
"""The run of a model with several labels per text."""


def needed(run: RunFolder) -> Sequence[Path]:
    """Return predictions.csv and metrics.json."""
    return run.predictions, run.metrics


def read(common: Mapping[str, Any]) -> LabelResults:
    """Add the predictions to the results that every run has."""
    run: RunFolder = common["folder"]
    labels = read_tag_labels(run.labels) if run.labels.is_file() else None
    return LabelResults(**common, splits=read_predictions(run.predictions, labels, common["after"]))


def split(results: LabelResults, name: str | None) -> LabelSplit:
    """Return the rows of a split."""
    return results.split(name)


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
class Pair(RunPair):
    """Two runs compared row by row. Rows whose text or labels differ are left out.

    Attributes:
        tests: the paired bootstrap of each metric of `COMPARED` over the shared rows. Empty without a test.
    """

    tests: Mapping[str, TestedDifference] = field(default_factory=dict)

    @property
    def untested(self) -> str | None:
        """Why there is no test, in words. None if there is one."""
        return None if self.tests else "The runs have no rows and labels in common, so there is no test."

    @property
    def winner(self) -> str | None:
        """Name of the run with the significantly higher macro F1 at the 5 % level. None if neither is."""
        test = self.tests.get(COMPARED[0])
        if test is None or test.p_value >= SIGNIFICANCE:
            return None
        return self.first if test.value > 0 else self.second


class Comparison(RowComparison[LabelSplit, Pair]):
    """Several models side by side."""


def compare(runs: Sequence[LabelResults], split: str | None = None) -> Comparison:
    """Compare runs on a split; see `compare_runs`."""
    return compare_runs(Comparison, runs, split, _pair)


def _pair(first: str, second: str, a: LabelSplit, b: LabelSplit) -> Pair:
    found, order = rows_in_both(a, b), _order(a, b)
    if order is None:
        return Pair(first, second, 0, len(found))
    # a paired test needs equal rows
    rows = [(i, j) for i, j in found if a.texts[i] == b.texts[j] and (a.labels[i] == b.labels[j, order]).all()]
    if not rows:
        return Pair(first, second, 0, len(found))
    ours, theirs = (list(side) for side in zip(*rows, strict=True))
    truth, one, other = a.labels[ours], a.predicted[ours], b.predicted[theirs][:, order]
    left, right = _measured(truth, one), _measured(truth, other)
    values = {name: left[name] - right[name] for name in COMPARED}
    return Pair(first, second, len(rows), len(found) - len(rows), paired_differences(truth, one, other, values))


def _order(a: LabelSplit, b: LabelSplit) -> list[int] | None:
    """Return the column in `b` of each label of `a`, by names, or by the labels of the data; None if they differ."""
    for ours, theirs in ((a.classes, b.classes), (a.values, b.values)):
        if ours and sorted(ours) == sorted(theirs):
            return [theirs.index(name) for name in ours]
    return None


def _measured(truth: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    count = truth.shape[1]
    found = label_metrics(truth, answers.astype(np.float64), list(map(str, range(count))), np.full(count, HALF))
    return {name: float(found[name]) for name in COMPARED}
