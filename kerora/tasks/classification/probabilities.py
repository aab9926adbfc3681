"""Probabilities from logits. A module of its own, so that prediction does not load scikit-learn with the metrics."""

import numpy as np

SHOWN_CHARACTERS = 500
"""Number of characters of a text that predictions.csv holds."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, in float64.

    Args:
        logits: numbers of shape (..., classes).

    Returns:
        Array of the same shape. The last axis sums to one.
    """
    wide = np.asarray(logits, dtype=np.float64)
    # Without the maximum, exp overflows at logits above 709. The quotient stays the same.
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
