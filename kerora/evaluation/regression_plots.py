"""Figures of predicted numbers: predicted against true, residuals, and their distribution."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from kerora.evaluation.plots import GRID, MUTED, TRAIN, VALIDATION, new_figure, style

MOST_POINTS = 1500
"""Points of a figure. Of more rows, a sample at equal distances in the order of the true numbers is drawn."""
BINS = 30


def predicted_against_true(true: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw the predicted number of each row against its true number, both of shape (rows,)."""
    with style():
        figure = new_figure(4.2, 4.2)
        axis = figure.subplots()
        axis.set_title("Predicted against true")
        axis.set(xlabel="true", ylabel="predicted")
        low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
        axis.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle="--")
        axis.plot(*_sampled(true, predicted), **_points(len(true)))
    return figure


def residuals(true: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw the error of each row (predicted minus true) against its predicted number, both of shape (rows,)."""
    with style():
        figure = new_figure(4.2, 4.2)
        axis = figure.subplots()
        axis.set_title("Residuals")
        axis.set(xlabel="predicted", ylabel="predicted minus true")
        axis.axhline(0, color=MUTED, linewidth=1, linestyle="--")
        axis.plot(*_sampled(predicted, predicted - true), **_points(len(true)))
    return figure


def residual_histogram(true: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw the distribution of the errors (predicted minus true) of rows, both of shape (rows,)."""
    with style():
        figure = new_figure(4.2, 4.2)
        axis = figure.subplots()
        axis.set_title("Distribution of the residuals")
        axis.set(xlabel="predicted minus true", ylabel="rows")
        axis.hist(predicted - true, bins=BINS, color=TRAIN, edgecolor=GRID, linewidth=0.4)
        axis.axvline(0, color=VALIDATION, linewidth=1.2, linestyle="--")
        axis.grid(False, axis="x")
    return figure


def _points(rows: int) -> dict[str, Any]:
    return {"linestyle": "", "marker": "o", "markersize": 3.5 if rows < 500 else 2.2, "color": TRAIN, "alpha": 0.55,
            "markeredgewidth": 0}  # fmt: skip


def _sampled(across: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(across) <= MOST_POINTS:
        return across, up
    # in the order of the axis, so that both ends and all densities between them are drawn
    places = np.argsort(across, kind="stable")[np.linspace(0, len(across) - 1, MOST_POINTS).astype(int)]
    return across[places], up[places]
