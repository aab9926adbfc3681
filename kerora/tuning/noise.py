"""Tests whether a trial is better than the defaults beyond chance: a paired bootstrap on the validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerora.tasks.classification.majority import majority_note
from kerora.tuning.records import Predictions, Record
from kerora.tuning.search import Search

# with 1,000 resamples, 25 lie beyond each end of the 95 % interval
SAMPLES, LEVEL = 1000, 0.95
RESAMPLED = (
    "loss",
    "accuracy",
    *(f"{average}_{name}" for average in ("macro", "weighted") for name in ("precision", "recall", "f1")),
    "mcc",
)
"""The metrics that can be computed from the stored predictions. ROC AUC and the calibration error need more."""
# the value of `kerora.evaluation.metrics`, so that both give the same loss
_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Difference:
    """Metric of the best trial minus metric of the defaults.

    Attributes:
        value: the difference on the validation rows, mean over the seeds.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        not_better: fraction of the resamples in which the best trial is not better.
    """

    value: float
    low: float
    high: float
    not_better: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval includes zero."""
        return self.low <= 0 <= self.high


def paired_bootstrap(
    labels: np.ndarray,
    best: Sequence[Predictions],
    default: Sequence[Predictions],
    metric: str,
    classes: int,
    *,
    maximize: bool = True,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Difference | None:
    """Resample the same rows for both and compare the metric (Efron and Tibshirani 1993, chapter 16).

    Args:
        labels: class numbers of the validation rows, shape (rows,).
        best: predictions of the best trial, one item per seed.
        default: predictions of the defaults, one item per seed.
        metric: one of `RESAMPLED`.
        classes: number of classes.
        maximize: whether a higher value of the metric is better.
        samples: number of resamples. Default: 1,000.
        seed: seed of the resampling. Default: 0.

    Returns:
        The difference. None if the metric cannot be resampled or predictions are missing.
    """
    if metric not in RESAMPLED or not best or not default:
        return None
    rows = len(labels)
    generator = np.random.default_rng(seed)
    # A resample is a count per row instead of a list of rows, so that no prediction is copied. Number 0 is the data
    # itself, with each row once.
    weights = [np.ones(rows, dtype=np.int64)]
    values = []
    for number in range(samples + 1):
        # the same counts for both sides: hard rows are hard for both, so the difference varies less than each metric
        drawn = weights[0] if number == 0 else generator.multinomial(rows, np.full(rows, 1 / rows))
        means = [np.mean([_value(labels, one, drawn, metric, classes) for one in side]) for side in (best, default)]
        values.append(means[0] - means[1])
    resampled = np.array(values[1:])
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    not_better = float(np.mean(resampled <= 0 if maximize else resampled >= 0))
    return Difference(float(values[0]), float(low), float(high), not_better)


def difference_to_defaults(search: Search, best: Record, default: Record | None) -> Difference | None:
    """Compare the best trial with the defaults on the validation rows. None if the best trial is the defaults."""
    if default is None or best.number == default.number:
        return None
    return paired_bootstrap(
        np.asarray(search.bench.data["validation"].targets),
        best.predictions,
        default.predictions,
        search.settings.metric,
        len(search.bench.data.classes),
        maximize=search.maximize,
    )


def weak_note(search: Search, best: Record) -> str | None:
    """Return a sentence if even the best trial is not better than the most frequent class, else None."""
    data = search.bench.data
    counts = np.bincount(np.asarray(data["validation"].targets), minlength=len(data.classes))
    supports = dict(zip(data.classes, map(int, counts), strict=True))
    note = majority_note("validation", best.results.get("metrics", {}), supports)
    return None if note is None else f"Best trial: {note}"


def verdict(best: Record, default: Record | None, difference: Difference | None) -> str:
    """Return a sentence that says whether the search found better settings than the defaults."""
    if default is None:
        return "The trial of the defaults failed, so the best trial cannot be compared with it."
    if best.number == default.number:
        return "No trial was better than the defaults."
    if difference is None:
        return "The difference to the defaults was not tested: this metric needs more than the stored predictions."
    if difference.is_noise:
        return "The best trial is within noise of the defaults."
    return "The best trial is better than the defaults beyond the noise of the validation rows."


def _value(labels: np.ndarray, one: Predictions, weights: np.ndarray, metric: str, classes: int) -> float:
    if metric == "loss":
        losses = -np.log(np.clip(one.true_probability, _SMALLEST_PROBABILITY, 1.0))
        return float(weights @ losses / weights.sum())
    # the confusion matrix as one row of cells: cell (label, predicted) has the number label * classes + predicted
    cells = np.bincount(labels * classes + one.predicted, weights=weights, minlength=classes * classes)
    return metric_of_matrix(cells.reshape(classes, classes), metric)


def metric_of_matrix(matrix: np.ndarray, metric: str) -> float:
    """Return a metric of a confusion matrix (true classes in rows), with the definition of `classification_metrics`."""
    hits, support, predicted = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    total = matrix.sum()
    if metric == "accuracy":
        return float(hits.sum() / total)
    if metric == "mcc":
        # the correlation of several classes (Gorodkin 2004), 0 if all labels or all predictions are one class
        spread = (total**2 - (predicted**2).sum()) * (total**2 - (support**2).sum())
        return float((hits.sum() * total - (support * predicted).sum()) / np.sqrt(spread)) if spread else 0.0
    average, _, name = metric.partition("_")
    above, below = {
        "precision": (hits, predicted),
        "recall": (hits, support),
        "f1": (2 * hits, support + predicted),  # 2 TP / (2 TP + FP + FN)
    }[name]
    # at least 1: a class without rows or predictions has 0 in both, and the value 0 as in scikit-learn
    each = above / np.maximum(below, 1)
    return float(each.mean() if average == "macro" else (each * support).sum() / total)
