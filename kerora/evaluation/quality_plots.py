"""Figures of a classifier's probabilities and mistakes: ROC, precision-recall and coverage, errors by text length."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics as sklearn_metrics

from kerora.evaluation.coverage import CoverageCurve
from kerora.evaluation.plots import INK, MUTED, RUNS, TRAIN, VALIDATION, new_figure, style

MOST_NAMED = len(RUNS)
"""Number of classes up to which each one has a colour. Of more classes, each curve is thin and grey."""
# a curve has a point for each different probability, up to the number of rows
MOST_POINTS = 200
LENGTH_BINS = 5
Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _roc(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    false_rate, true_rate, _ = sklearn_metrics.roc_curve(positive, scores)
    return false_rate, true_rate


def _precision_recall(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    precision, recall, _ = sklearn_metrics.precision_recall_curve(positive, scores)
    return recall, precision


def roc(labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the ROC curve of each class against all others, and over all classes together.

    Args:
        labels: class numbers, shape (rows,). Or whether each row has each label, bool (rows, classes).
        probabilities: shape (rows, classes). With two classes of which a row has one, only the curve of the second one
            is drawn.
    """
    with style():
        figure, axis = _square("ROC", "false positive rate", "true positive rate")
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":")
        _draw_classes(figure, axis, labels, probabilities, _roc)
    return figure


def precision_recall(labels: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the precision-recall curve of each class, and over all classes together. Arguments as in `roc`."""
    with style():
        figure, axis = _square("Precision and recall", "recall", "precision")
        _draw_classes(figure, axis, labels, probabilities, _precision_recall)
    return figure


def _square(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = new_figure(4.2, 4.2)
    axis = figure.subplots()
    axis.set(xlabel=across, ylabel=up, xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
    axis.set_title(title)
    return figure, axis


def _draw_classes(figure: Figure, axis: Axes, labels: np.ndarray, probabilities: np.ndarray, curve: Curve) -> None:
    count = probabilities.shape[1]
    # (rows, classes)
    hits = labels if labels.ndim == 2 else labels[:, None] == np.arange(count)
    # with two classes, the ROC curve of the first is the same curve turned around
    numbers = [1] if count == 2 and labels.ndim == 1 else range(count)
    for number in numbers:
        positive = hits[:, number]
        # without rows of the class, or with no other rows, there is no curve
        if positive.any() and not positive.all():
            look: dict[str, Any] = {"color": MUTED, "linewidth": 0.7, "alpha": 0.6}
            if count <= MOST_NAMED:
                look = {"color": RUNS[number], "linewidth": 1.4, "label": f"class {number + 1}"}
            _draw(axis, *curve(positive, probabilities[:, number]), **look)
    if len(numbers) > 1 and hits.any():
        # micro average: each pair of row and class is one decision, (rows * classes,)
        _draw(
            axis,
            *curve(hits.ravel(), probabilities.ravel()),
            color=INK,
            linewidth=2.2,
            linestyle="--",
            label="all classes",
        )
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3)


def _draw(axis: Axes, across: np.ndarray, up: np.ndarray, **look: Any) -> None:
    """Draw a curve with few points, so that the page stays small."""
    # places spread evenly, with both ends; short curves give a place twice
    kept = np.unique(np.linspace(0, len(across) - 1, min(len(across), MOST_POINTS)).astype(int))
    axis.plot(across[kept], up[kept], **look)


def coverage(curve: CoverageCurve) -> Figure:
    """Draw the accuracy of the answered rows by their share, with its lower bound.

    Args:
        curve: the curve. Its points are those at which a threshold changes what is answered.
    """
    share = 100 * curve.answered / curve.rows
    # few points, so that the page stays small; both ends stay
    kept = np.unique(np.linspace(0, len(share) - 1, min(len(share), MOST_POINTS)).astype(int))
    with style():
        figure = new_figure(4.8, 3.3)
        axis = figure.subplots()
        axis.plot(share[kept], 100 * curve.accuracy[kept], color=TRAIN, label="accuracy")
        axis.plot(share[kept], 100 * curve.bound[kept], color=VALIDATION, linestyle="--", label="lower bound, 95 %")
        # the bound of a few rows is near 0 and would press the rest of the curves together
        lowest = 100 * min(float(curve.accuracy.min()), float(curve.bound[-1]))
        axis.set(xlabel="answered rows, per cent", ylabel="right, per cent", xlim=(0, 101), ylim=(lowest - 5, 101))
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def errors_by_length(lengths: np.ndarray, correct: np.ndarray, longest: int) -> Figure:
    """Draw the share of wrong predictions by the length of the text, in groups of about equal size.

    Args:
        lengths: characters of each text, shape (rows,).
        correct: whether each prediction is right, shape (rows,).
        longest: length at which stored texts are cut. Texts of this length may be longer.
    """
    # many texts of one length give equal quantiles, which would be groups without rows
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_BINS + 1)).round().astype(int))
    # the longest text lies on the last edge, which would be a group of its own
    groups = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
    found = [number for number in range(max(len(edges) - 1, 1)) if (groups == number).any()]
    shares = [100 * float((~correct[groups == number]).mean()) for number in found]
    with style():
        figure = new_figure(4.8, 3.3)
        axis = figure.subplots()
        axis.bar(range(len(found)), shares, color=TRAIN, width=0.62)
        axis.axhline(100 * float((~correct).mean()), color=VALIDATION, linestyle="--", linewidth=1.4, label="all rows")
        names = [_group_name(lengths[groups == number], longest) for number in found]
        axis.set_xticks(range(len(found)), names, color=INK)
        axis.set(xlabel="characters of the text, and rows", ylabel="wrong, per cent")
        axis.grid(False, axis="x")
        axis.margins(y=0.15)
        figure.legend(loc="outside upper right")
    return figure


def _group_name(lengths: Sequence[int] | np.ndarray, longest: int) -> str:
    low, high = int(min(lengths)), int(max(lengths))
    # a text as long as the limit may have been cut there
    span = f"{low} or more" if high >= longest else str(low) if low == high else f"{low} to {high}"
    return f"{span}\n{len(lengths):,} rows"
