"""The metrics of models with several labels per text, computed by scikit-learn.

Fit, evaluate, report and the callback all call `label_metrics`, so they give the same numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sklearn_metrics

from kerora.evaluation.thresholds import HALF

LABEL_METRICS = (
    "loss",
    "micro_f1",
    "macro_f1",
    "weighted_f1",
    "samples_f1",
    "macro_f1_at_half",
    "map",
    "hamming_loss",
    "subset_accuracy",
    "ranking_loss",
)
"""The single-number metrics of `label_metrics`."""
# keeps the loss finite when a probability is 0 or 1
_SMALLEST_PROBABILITY = 1e-12


def label_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    thresholds: np.ndarray,
    predicted: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the metrics that metrics.json holds for one split.

    Precision, recall and F1 of a class without rows or without predictions are 0, also in the averages. A row without
    labels for which none is predicted has the sample F1 1. `map` is the mean over the classes that have rows, and None
    if no class has.

    Args:
        labels: whether each row has each label, bool (rows, classes).
        probabilities: finite numbers, (rows, classes).
        classes: names of the labels.
        thresholds: the probability from which on each label is predicted, (classes,).
        predicted: which labels are predicted, bool (rows, classes). None compares probabilities with the thresholds.

    Returns:
        `LABEL_METRICS`, and ``per_class``: ``{name: {precision, recall, f1, average_precision, support, threshold}}``.

    Raises:
        ValueError: there are no rows, or the shapes do not fit together.
    """
    # integers, because scikit-learn reads a matrix of bool as one of labels only since version 1.6
    truth, wide = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if not len(truth) or truth.shape != wide.shape or truth.shape[1] != len(classes):
        raise ValueError(
            f"labels and probabilities must have at least one row and shape (rows, {len(classes)}). "
            f"Received: shapes {truth.shape} and {wide.shape}"
        )
    answers = (wide >= thresholds if predicted is None else np.asarray(predicted)).astype(np.int64)
    present = np.flatnonzero(truth.any(axis=0))
    precision = {
        int(number): float(sklearn_metrics.average_precision_score(truth[:, number], wide[:, number]))
        for number in present
    }
    return {
        "loss": float(row_losses(truth, wide).mean()),
        "micro_f1": _f1(truth, answers, "micro"),
        "macro_f1": _f1(truth, answers, "macro"),
        "weighted_f1": _f1(truth, answers, "weighted"),
        # a row with neither labels nor predictions is right
        "samples_f1": _f1(truth, answers, "samples", 1.0),
        "macro_f1_at_half": _f1(truth, (wide >= HALF).astype(np.int64), "macro"),
        "map": float(np.mean(list(precision.values()))) if precision else None,
        "hamming_loss": float(sklearn_metrics.hamming_loss(truth, answers)),
        "subset_accuracy": float(sklearn_metrics.accuracy_score(truth, answers)),
        "ranking_loss": float(sklearn_metrics.label_ranking_loss(truth, wide)),
        "per_class": _per_class(truth, answers, classes, precision, thresholds),
    }


def row_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the binary cross entropy of each row in nats, averaged over the labels, float64 (rows,)."""
    safe = np.clip(probabilities, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    losses: np.ndarray = -np.where(labels, np.log(safe), np.log1p(-safe)).mean(axis=1)
    return losses


def _f1(truth: np.ndarray, answers: np.ndarray, average: str, zero_division: float = 0.0) -> float:
    return float(sklearn_metrics.f1_score(truth, answers, average=average, zero_division=zero_division))


def _per_class(
    truth: np.ndarray,
    answers: np.ndarray,
    classes: Sequence[str],
    average_precision: dict[int, float],
    thresholds: np.ndarray,
) -> dict[str, dict[str, Any]]:
    columns = sklearn_metrics.precision_recall_fscore_support(truth, answers, average=None, zero_division=0)
    return {
        name: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "average_precision": average_precision.get(number),
            "support": int(support),
            "threshold": float(thresholds[number]),
        }
        for number, (name, precision, recall, f1, support) in enumerate(zip(classes, *columns, strict=True))
    }
