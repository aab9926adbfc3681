"""Probabilities from logits. A module of its own, so that prediction does not load scikit-learn with the metrics."""

import numpy as np


def softmax(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """Return the probabilities of logits, in float64.

    Args:
        logits: numbers of shape (..., classes). -inf gives the probability 0.
        temperature: divides the logits (Guo et al. 2017, arXiv:1706.04599). One number above 0, or one for each row,
            shape (rows, 1). Default: 1, the logits as they are.

    Returns:
        Array of the same shape. The last axis sums to one.
    """
    wide = np.asarray(logits, dtype=np.float64)
    # Without the maximum, exp overflows at logits above 709. The quotient stays the same.
    exponentials = np.exp((wide - wide.max(axis=-1, keepdims=True)) / temperature)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
