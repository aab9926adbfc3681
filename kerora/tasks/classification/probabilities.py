"""Logits into probabilities; apart from the metrics, so that prediction does not load scikit-learn."""

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, in float64.

    Args:
        logits: numbers of shape (..., classes).

    Returns:
        Array of the same shape whose last axis sums to one.
    """
    wide = np.asarray(logits, dtype=np.float64)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
