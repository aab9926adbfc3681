"""Temperature scaling: one number, fitted on held-out rows, that divides the logits of a model.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599). The order of the classes stays
the same, so labels, accuracy and F1 do not change. Probabilities, the expected calibration error and the loss do.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq

LEAST_ROWS = 100
"""Validation rows from which on a temperature or a threshold is fitted."""
# doublings of the inverse temperature that the search tries on each side; float64 has about 1,000 of them
_MOST_DOUBLINGS = 200


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the temperature with the smallest mean negative log likelihood of the labels.

    The likelihood is convex in the inverse temperature b, with the derivative ``mean(sum_k p_k z_k - z_label)``. The
    function finds the zero of this derivative, in float64.

    Args:
        logits: finite numbers of shape (rows, classes).
        labels: class numbers, shape (rows,).

    Returns:
        The temperature. None if no finite one above 0 is the best: every row is predicted right, so that a smaller
        temperature is always better; or the logits say nothing about the labels, so that a larger one is.

    Raises:
        ValueError: a logit is not finite, or the shapes do not fit.
    """
    wide, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if not np.isfinite(wide).all() or wide.ndim != 2 or labels.shape != wide.shape[:1]:
        raise ValueError(f"logits must be finite, (rows, classes). Received: shapes {wide.shape} and {labels.shape}")
    # halves, because the difference of two numbers near the largest float64 is infinite
    halves = wide / 2
    gaps = halves - halves.max(axis=1, keepdims=True)
    scale = float(np.abs(gaps).max(initial=0.0))
    if scale == 0:
        return None
    gaps /= scale  # from -1 to 0, whatever the size of the logits
    true = gaps[np.arange(len(labels)), labels]

    def slope(doublings: float) -> float:
        weights = np.exp(gaps * 2.0**doublings)
        # (rows,): the mean logit under the probabilities, minus the logit of the label
        return float(((weights * gaps).sum(axis=1) / weights.sum(axis=1) - true).mean())

    ends = _bracket(slope)
    return None if ends is None else 2 * scale / 2.0 ** brentq(slope, *ends, xtol=1e-12)


def _bracket(slope: Callable[[float], float]) -> tuple[float, float] | None:
    """Return two numbers of doublings between which the rising function changes its sign, or None."""
    step = 1 if slope(0.0) < 0 else -1
    for place in range(0, step * _MOST_DOUBLINGS, step):
        # strictly: where every row is right, the derivative falls to 0 by rounding and has no zero
        if step * slope(float(place + step)) > 0:
            return float(min(place, place + step)), float(max(place, place + step))
    return None
