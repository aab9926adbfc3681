"""The figures: what they show, that any class name can be drawn, and that pages can embed them."""

import io
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image

from kerora.evaluation import plots
from kerora.evaluation.metrics import calibration
from tests.evaluation.synthetic_runs import SIX, TWENTY, TWO

HISTORY = {
    "epoch": np.array([1.0, 2.0, 3.0]),
    "loss": np.array([0.9, 0.5, 0.3]),
    "accuracy": np.array([0.5, 0.7, 0.9]),
    "val_loss": np.array([0.9, np.nan, 0.6]),
    "val_accuracy": np.full(3, np.nan),
}
ODD = ("a $x_1$ and $", "日本語", "🎉", "עברית", "<script>alert(1)</script>", "line\nbreak", "n" * 200)


def size(content: bytes) -> tuple[int, int]:
    height, width = image.imread(io.BytesIO(content), format="png").shape[:2]
    return width, height


@pytest.mark.parametrize("classes", [("one",), TWO, SIX, TWENTY, ODD])
def test_confusion_matrix_is_drawn_with_any_names(classes: tuple[str, ...]) -> None:
    matrix = np.arange(len(classes) ** 2).reshape(len(classes), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        width, height = size(plots.png(plots.confusion(matrix, classes, "Confusion matrix")))
    assert 400 < width < 3000
    assert 300 < height < 3000


def test_cells_hold_counts_and_per_cent() -> None:
    axis = plots.confusion(np.array([[3, 1], [0, 0]]), TWO, "title").axes[0]
    assert [text.get_text() for text in axis.texts] == ["3\n75 %", "1\n25 %", "0\n0 %", "0\n0 %"]
    assert [text.get_text() for text in axis.get_yticklabels()] == list(TWO)


def test_many_classes_leave_zeros_out_and_stay_small() -> None:
    axis = plots.confusion(np.eye(20, dtype=int) * 7, TWENTY, "title").axes[0]
    assert [text.get_text() for text in axis.texts] == ["7"] * 20
    figure = plots.confusion(np.eye(400, dtype=int), [str(number) for number in range(400)], "title")
    assert max(figure.get_size_inches()) < 35
    assert not figure.axes[0].texts


def test_curves_leave_out_what_was_not_measured() -> None:
    loss, accuracy = plots.curves(HISTORY, best_epoch=2).axes
    assert [line.get_label() for line in loss.lines] == ["train", "validation", "kept epoch"]
    assert [line.get_label() for line in accuracy.lines] == ["train", "kept epoch"]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), HISTORY["loss"])


def test_curves_of_one_epoch_and_of_none_are_drawn() -> None:
    one = {name: values[:1] for name, values in HISTORY.items()}
    loss = plots.curves(one, best_epoch=1).axes[0]
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    assert list(loss.get_xticks()) == [1]
    assert size(plots.png(plots.curves({"epoch": np.array([np.nan])})))[0] > 500


def test_svg_follows_the_page_and_refers_to_nothing_outside() -> None:
    labels = np.array([0, 1, 1])
    bins = calibration(labels, np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9]]), np.array([0, 0, 1]))
    for figure in (plots.curves(HISTORY, 2), plots.reliability(bins)):
        markup = plots.inline_svg(figure, 'accuracy "by" <epoch>')
        assert markup.startswith("<svg")
        assert "http" not in markup
        assert "<style" not in markup
        assert "var(--train)" in markup and plots.TRAIN not in markup
        root = ElementTree.fromstring(markup.replace("xlink:href", "href"))
        assert (root.get("role"), root.get("aria-label")) == ("img", 'accuracy "by" <epoch>')
        assert {"epoch", "confidence"} & {element.text for element in root.iter("text")}


def test_ids_of_two_figures_on_a_page_differ() -> None:
    def ids(description: str) -> set[str | None]:
        markup = plots.inline_svg(plots.curves(HISTORY), description).replace("xlink:href", "href")
        return {element.get("id") for element in ElementTree.fromstring(markup).iter()} - {None}

    assert ids("first")
    assert not ids("first") & ids("second")


def test_the_reliability_diagram_shows_what_was_before_the_temperature() -> None:
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9]])
    after, before = (calibration(labels, values, np.array([0, 0, 1])) for values in (probabilities, probabilities**2))
    drawn = plots.reliability(after, before)
    assert [text.get_text() for text in drawn.legends[0].texts] == ["without temperature", "with temperature"]
    assert not plots.reliability(after).legends
