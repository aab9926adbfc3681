"""Chooses the probability from which on a row gets a label."""

import numpy as np

HALF = 0.5
"""The threshold of a label without positive rows, for which no other can be chosen."""


def best_threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the threshold with the best F1. A row is positive if its probability is at least the threshold.

    Thresholds stand halfway between neighbouring probabilities. All of them are compared. Of several with the best F1,
    the one nearest to 0.5 is chosen, and of two that are equally near the lower one. Without positive rows the
    threshold is 0.5.

    Args:
        labels: whether each row has the label, shape (rows,).
        probabilities: float64, shape (rows,).
    """
    labels = np.asarray(labels, dtype=bool)
    positive = int(labels.sum())
    if not positive:
        return HALF
    order = np.argsort(-probabilities, kind="stable")
    values, hits = probabilities[order], np.cumsum(labels[order])
    # the last place of each group of equal probabilities: only there the rows can be divided
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    f1 = 2 * hits[last] / (last + 1 + positive)
    below = np.append(values[last[:-1] + 1], 0.0)
    limits = values[last] / 2 + below / 2
    best = np.flatnonzero(f1 == f1.max())
    # from the lowest: argmin takes the first of equal distances
    return float(limits[best[::-1]][np.argmin(np.abs(limits[best[::-1]] - HALF))])


def best_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the threshold of each class, float64 (classes,); see `best_threshold`.

    Args:
        labels: whether each row has each label, shape (rows, classes).
        probabilities: float64, shape (rows, classes).
    """
    columns = zip(labels.T, probabilities.T, strict=True)
    return np.array([best_threshold(*column) for column in columns], dtype=np.float64)
