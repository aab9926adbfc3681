"""What the page and the terminal both say of a run: labels, numbers as text, changes, notes."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerora.evaluation.results import RunResults, SplitResults

LABELS = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "loss": "Loss",
    "perplexity": "Perplexity",
    "bits_per_byte": "Bits per byte",
    "ece": "Calibration error",
}
HINTS = {
    "mcc": "Matthews correlation, -1 to 1",
    "roc_auc": "0.5 is chance",
    "loss": "mean cross entropy",
    "perplexity": "as if choosing among so many tokens",
    "bits_per_byte": "the same measure for every tokenizer",
    "ece": "ECE, 0 is calibrated",
}
LOWER_IS_BETTER = ("loss", "perplexity", "bits_per_byte", "ece")
NOTHING = "-"


@dataclass(frozen=True)
class Change:
    """One metric before and after training.

    Attributes:
        key: the metric's key in metrics.json.
        before: its value for the untouched model, if recorded.
        after: its value for the trained model, if recorded.
    """

    key: str
    before: float | None
    after: float | None

    @property
    def label(self) -> str:
        """The metric's name for people."""
        return LABELS[self.key]

    @property
    def difference(self) -> float | None:
        """After minus before; None unless both are recorded."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def direction(self) -> str:
        """``better``, ``worse`` or ``""``."""
        gain = (self.difference or 0.0) * (-1 if self.key in LOWER_IS_BETTER else 1)
        return "better" if gain > 0 else "worse" if gain < 0 else ""


@dataclass(frozen=True)
class Confusion:
    """One kind of mistake.

    Attributes:
        true: the true class's number.
        predicted: the class that was predicted instead.
        rows: how often.
        percent: per cent of the true class's rows.
    """

    true: int
    predicted: int
    rows: int
    percent: float


def changes(results: RunResults) -> dict[str, list[Change]]:
    """Return the metrics before and after training by split; empty where no "before" was recorded."""
    splits = [*results.splits, *(name for name in results.after if name not in results.splits)]
    table = {}
    for split in splits:
        before, after = results.before.get(split, {}), results.after.get(split, {})
        if before:
            rows = [Change(key, number(before.get(key)), number(after.get(key))) for key in LABELS]
            table[split] = [row for row in rows if row.before is not None or row.after is not None]
    return table


def most_confused(split: SplitResults, count: int = 10) -> list[Confusion]:
    """Return the most frequent mistakes, the most rows first."""
    matrix = split.matrix.copy()
    totals = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    places = np.argsort(-matrix, axis=None, kind="stable")[:count]
    found = []
    for true, predicted in zip(*np.unravel_index(places, matrix.shape), strict=True):
        rows = int(matrix[true, predicted])
        if rows:
            found.append(Confusion(int(true), int(predicted), rows, 100 * rows / int(totals[true])))
    return found


def state_notes(results: RunResults) -> list[str]:
    """Return a note where a run did not finish."""
    state = results.manifest.get("state")
    if state == "finished":
        return []
    return [f"This run is marked '{state}': its numbers are those of the state it was left in."]


def notes(results: RunResults, split: SplitResults) -> list[str]:
    """Return what a reader should know before trusting the numbers."""
    said = state_notes(results)
    if "test" not in results.splits and split.name == "validation":
        said.append(
            "There are no test rows: these are validation rows, which early stopping may have looked at, "
            "so the numbers can be a little too good."
        )
    if not split.agrees:
        said.append(
            f"metrics.json gives accuracy {decimal(split.recorded['accuracy'])} for {split.name}, but predictions.csv "
            f"gives {decimal(float(split.correct.mean()))}: the numbers shown are those of predictions.csv."
        )
    absent = [split.classes[place] for place in np.flatnonzero(split.matrix.sum(axis=1) == 0)]
    if absent:
        listed = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        said.append(f"No {split.name} rows of class {listed}: macro averages count such a class as 0.")
    return said


def number(value: Any) -> float | None:
    """Return a finite number as float, and None for anything else."""
    return float(value) if isinstance(value, numbers.Real) and math.isfinite(value) else None


def lookup(manifest: Mapping[str, Any], *keys: str) -> Any:
    """Return a nested value of the manifest; None where a level is missing."""
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def decimal(value: Any, digits: int = 4) -> str:
    """Return a number with fixed decimals, from 100 on with one; a dash where there is none."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.{_decimals(found, digits)}f}"


def signed(value: Any, digits: int = 4) -> str:
    """Return a number as `decimal` does, with its sign; a dash where there is none."""
    found = number(value)
    return NOTHING if found is None else f"{found:+,.{_decimals(found, digits)}f}"


def _decimals(value: float, digits: int) -> int:
    """Return how many decimals say something: perplexities of thousands would overflow their box."""
    return digits if abs(value) < 100 else min(digits, 1)


def whole(value: Any) -> str:
    """Return an integer with thousands separators; a dash where there is none."""
    found = number(value)
    return NOTHING if found is None else f"{round(found):,}"


def p_value(value: float) -> str:
    """Return a p-value with three decimals, or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: Any) -> str:
    """Return seconds as ``41.5 s``, ``2 min 5 s`` or ``1 h 3 min``; a dash where there is no number."""
    found = number(seconds)
    if found is None or found < 0:
        return NOTHING
    if found < 59.95:
        return f"{found:.1f} s"
    minutes, rest = divmod(round(found), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
