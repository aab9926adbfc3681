"""Words that the page and the terminal share: labels, numbers as text, changes, notes."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kerora.evaluation.directions import is_lower_better
from kerora.evaluation.results import RunResults

LABELS = {
    "accuracy": "Accuracy",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "micro_f1": "Micro F1",
    "samples_f1": "Sample F1",
    "macro_f1_at_half": "Macro F1 at 0.5",
    "map": "Mean average precision",
    "subset_accuracy": "Subset accuracy",
    "hamming_loss": "Hamming loss",
    "ranking_loss": "Ranking loss",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R2",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "loss": "Loss",
    "perplexity": "Perplexity",
    "bits_per_byte": "Bits per byte",
    "ece": "Calibration error",
}
HINTS = {
    "mcc": "Matthews correlation, -1 to 1",
    "roc_auc": "0.5 is chance",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "0 is the mean, 1 is perfect",
    "pearson": "linear correlation, -1 to 1",
    "spearman": "correlation of the ranks, -1 to 1",
    "loss": "mean cross entropy",
    "perplexity": "exponential of the loss",
    "bits_per_byte": "comparable between tokenizers",
    "ece": "ECE, 0 is calibrated",
    "map": "of the labels with rows",
    "macro_f1_at_half": "with threshold 0.5 for all labels",
    "samples_f1": "mean over the rows",
    "subset_accuracy": "rows with all labels right",
    "hamming_loss": "share of wrong answers",
    "ranking_loss": "wrong order of two labels",
}
CHANGED = (
    *("accuracy", "macro_precision", "macro_recall", "macro_f1", "micro_f1", "map", "subset_accuracy"),
    *("mae", "rmse", "r2", "pearson", "spearman"),
    *("loss", "perplexity", "bits_per_byte"),
)
"""The metrics whose change the terminal shows."""
MAIN = ("accuracy", "macro_f1", "rmse", "pearson", "perplexity", "bits_per_byte")
"""The metrics that name a result in one line."""
NOTHING = "-"


@dataclass(frozen=True)
class Change:
    """One metric before and after training.

    Attributes:
        key: the metric's key in metrics.json.
        before: its value before training. None if not recorded.
        after: its value after training. None if not recorded.
        baseline: its value of the baseline. None if there is none.
    """

    key: str
    before: float | None
    after: float | None
    baseline: float | None = None

    @property
    def label(self) -> str:
        """The metric's name for people."""
        return LABELS[self.key]

    @property
    def difference(self) -> float | None:
        """After minus before. None unless both are recorded."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def direction(self) -> str:
        """``better``, ``worse`` or ``""``."""
        # a positive gain is better, whatever the direction of the metric
        gain = (self.difference or 0.0) * (-1 if is_lower_better(self.key) else 1)
        return "better" if gain > 0 else "worse" if gain < 0 else ""


def in_sentence(metric: str) -> str:
    """Return the label of a metric within a sentence: ``macro F1``, but ``MCC``."""
    label = LABELS.get(metric, metric)
    return label if label[:2].isupper() else label[:1].lower() + label[1:]


def changes(results: RunResults) -> dict[str, list[Change]]:
    """Return the metrics before and after training by split. Empty if nothing was recorded before training."""
    table = {}
    for split in results.evaluated:
        parts = [found.get(split, {}) for found in (results.before, results.after, results.baseline)]
        if parts[0]:
            # the order of LABELS, so that all tables list the metrics in the same order
            rows = [Change(key, *(number(part.get(key)) for part in parts)) for key in LABELS]
            table[split] = [row for row in rows if row.before is not None or row.after is not None]
    return table


def state_notes(results: RunResults) -> list[str]:
    """Return a note if the run did not finish."""
    state = results.manifest.get("state")
    if state == "finished":
        return []
    return [f"The state of this run is '{state}'. The numbers are those of an unfinished run."]


def number(value: Any) -> float | None:
    """Return `value` as float if it is a finite number, else None."""
    # run.json may hold anything under a key, if it was edited or comes from another version
    return float(value) if isinstance(value, numbers.Real) and math.isfinite(value) else None


def lookup(manifest: Mapping[str, Any], *keys: str) -> Any:
    """Return a nested value of the manifest. None if a level is missing."""
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def decimal(value: Any, digits: int = 4) -> str:
    """Return a number with fixed decimals, from 100 on with one. A dash stands for no number."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.{_decimals(found, digits)}f}"


def signed(value: Any, digits: int = 4) -> str:
    """Return a number as `decimal` does, with its sign. A dash stands for no number."""
    found = number(value)
    return NOTHING if found is None else f"{found:+,.{_decimals(found, digits)}f}"


def _decimals(value: float, digits: int) -> int:
    """Return the number of decimals. A large number gets fewer, because it would be too wide for its box."""
    return digits if abs(value) < 100 else min(digits, 1)


def whole(value: Any) -> str:
    """Return an integer with thousands separators. A dash stands for no number."""
    found = number(value)
    return NOTHING if found is None else f"{round(found):,}"


def p_value(value: float) -> str:
    """Return a p-value with three decimals, or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: Any) -> str:
    """Return seconds as ``41.5 s``, ``2 min 5 s`` or ``1 h 3 min``. A dash stands for no number."""
    found = number(seconds)
    if found is None or found < 0:
        return NOTHING
    if found < 59.95:  # from there on, one decimal would round to 60.0 s
        return f"{found:.1f} s"
    # rounded first: 119.7 s is 2 min 0 s, not 1 min 60 s
    minutes, rest = divmod(round(found), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
