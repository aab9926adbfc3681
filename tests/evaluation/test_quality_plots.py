"""The curves hold the points of scikit-learn, and the bars the shares of the rows."""

import numpy as np
import pytest
from sklearn import metrics

from kerora.evaluation import quality_plots
from kerora.evaluation.coverage import coverage_curve
from tests.evaluation.synthetic_runs import SIX, TWENTY, TWO, draw


@pytest.mark.parametrize(("classes", "named"), [(TWO, 1), (SIX, 7), (TWENTY, 1)])
@pytest.mark.parametrize("figure", [quality_plots.roc, quality_plots.precision_recall])
def test_every_class_has_a_curve_and_a_name_if_there_are_few(classes, named, figure) -> None:
    labels, probabilities = draw(classes, 300, 1.5, 0, 0)
    axis = figure(labels, probabilities).axes[0]
    curves = [line for line in axis.lines if line.get_linestyle() != ":"]
    assert len(curves) == (1 if len(classes) == 2 else len(classes) + 1)
    assert len(axis.get_legend_handles_labels()[0]) == named
    assert all(len(line.get_xdata()) <= quality_plots.MOST_POINTS for line in curves)


def test_the_area_is_that_of_scikit_learn() -> None:
    labels, probabilities = draw(TWO, 150, 1.0, 3, 0)
    line = quality_plots.roc(labels, probabilities).axes[0].lines[1]
    area = metrics.auc(line.get_xdata(), line.get_ydata())
    assert area == pytest.approx(metrics.roc_auc_score(labels, probabilities[:, 1]), abs=0.01)


@pytest.mark.parametrize("figure", [quality_plots.roc, quality_plots.precision_recall])
def test_rows_of_a_single_class_have_no_curve_and_no_warning(figure) -> None:
    drawn = figure(np.zeros(5, int), np.full((5, 2), 0.5))
    assert not [line for line in drawn.axes[0].lines if line.get_linestyle() != ":"]


@pytest.mark.parametrize("lengths", [[3] * 8, [1, 2], list(range(40)), [500] * 30 + [4], [0]])
def test_all_rows_are_in_a_group(lengths: list[int]) -> None:
    correct = np.arange(len(lengths)) % 2 == 0
    axis = quality_plots.errors_by_length(np.array(lengths), correct, 500).axes[0]
    names = [label.get_text() for label in axis.get_xticklabels()]
    rows = [int(name.split("\n")[1].split()[0]) for name in names]
    heights = [bar.get_height() for bar in axis.patches]
    assert sum(rows) == len(lengths)
    wrong = sum(height * count / 100 for height, count in zip(heights, rows, strict=True))
    assert wrong == pytest.approx((~correct).sum())
    assert ("or more" in " ".join(names)) == (500 in lengths)


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_the_coverage_holds_the_points_of_its_curve(rows: int) -> None:
    labels, probabilities = draw(SIX, rows, 1.5, 0, 0)
    curve = coverage_curve(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    accuracy, bound = quality_plots.coverage(curve).axes[0].lines
    assert accuracy.get_xdata()[-1] == 100 and accuracy.get_ydata()[-1] == pytest.approx(100 * curve.accuracy[-1])
    assert len(bound.get_xdata()) <= quality_plots.MOST_POINTS
    assert (np.asarray(bound.get_ydata()) <= np.asarray(accuracy.get_ydata())).all()
