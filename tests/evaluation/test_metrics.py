"""The metrics against scikit-learn and against loops written out by hand."""

import math
from itertools import product

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from kerora.evaluation.metrics import (
    calibration,
    classification_metrics,
    classification_report_text,
    confusion_matrix,
    row_percent,
)
from kerora.models.probabilities import softmax

KEYS = """loss accuracy macro_precision macro_recall macro_f1 weighted_precision weighted_recall weighted_f1
mcc roc_auc ece per_class""".split()  # noqa: SIM905


def random_case(seed: int, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, classes, rows), softmax(generator.normal(size=(rows, classes)) * 2)


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def by_hand(labels: np.ndarray, predicted: np.ndarray, count: int) -> list[tuple[float, float, float, int]]:
    rows = []
    for number in range(count):
        hits = sum(1 for a, b in zip(labels, predicted, strict=True) if a == b == number)
        chosen, present = int((predicted == number).sum()), int((labels == number).sum())
        precision, recall = hits / chosen if chosen else 0.0, hits / present if present else 0.0
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        rows.append((precision, recall, f1, present))
    return rows


def ranked_pairs(labels: np.ndarray, scores: np.ndarray) -> float:
    pairs = list(product(scores[labels == 1], scores[labels == 0]))
    return sum(1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows, classes", [(1, 3), (2, 2), (40, 2), (60, 5), (30, 20)])
def test_metrics_equal_hand_computation_on_random_rows(seed: int, rows: int, classes: int) -> None:
    labels, probabilities = random_case(seed, rows, classes)
    found = classification_metrics(labels, probabilities, names(classes))
    predicted = probabilities.argmax(axis=1)
    expected = by_hand(labels, predicted, classes)
    supports = np.array([row[3] for row in expected])

    assert list(found) == KEYS
    assert found["accuracy"] == pytest.approx(np.mean(labels == predicted))
    for place, key in enumerate(("precision", "recall", "f1")):
        column = np.array([row[place] for row in expected])
        assert found[f"macro_{key}"] == pytest.approx(column.mean())
        assert found[f"weighted_{key}"] == pytest.approx((column * supports).sum() / rows)
        assert [values[key] for values in found["per_class"].values()] == pytest.approx(column.tolist())
    assert [values["support"] for values in found["per_class"].values()] == supports.tolist()
    nats = [-math.log(probabilities[row, label]) for row, label in enumerate(labels)]
    assert found["loss"] == pytest.approx(sum(nats) / rows)


@pytest.mark.parametrize("seed", range(5))
def test_matthews_correlation_is_that_of_the_covariances(seed: int) -> None:
    labels, probabilities = random_case(seed, 50, 4)
    truth, guess = np.eye(4)[labels], np.eye(4)[probabilities.argmax(axis=1)]

    def covariance(a: np.ndarray, b: np.ndarray) -> float:
        return float(((a - a.mean(axis=0)) * (b - b.mean(axis=0))).sum())

    expected = covariance(truth, guess) / math.sqrt(covariance(truth, truth) * covariance(guess, guess))
    assert classification_metrics(labels, probabilities, names(4))["mcc"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_roc_auc_counts_ranked_pairs(seed: int) -> None:
    labels, probabilities = random_case(seed, 60, 2)
    assert classification_metrics(labels, probabilities, names(2))["roc_auc"] == pytest.approx(
        ranked_pairs(labels, probabilities[:, 1])
    )
    labels, probabilities = random_case(seed, 60, 4)
    found = classification_metrics(labels, probabilities, names(4))["roc_auc"]
    one_against_rest = [ranked_pairs((labels == place).astype(int), probabilities[:, place]) for place in range(4)]
    assert found == pytest.approx(np.mean(one_against_rest))
    assert found == pytest.approx(sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))


def test_roc_auc_is_none_where_a_class_is_absent() -> None:
    labels, probabilities = random_case(0, 30, 3)
    labels[labels == 2] = 0
    assert classification_metrics(labels, probabilities, names(3))["roc_auc"] is None
    assert classification_metrics(np.zeros(4, int), np.ones((4, 1)), ["only"])["roc_auc"] is None


def test_absent_classes_count_as_zero_in_the_averages() -> None:
    labels, probabilities = np.array([0, 0, 0]), np.array([[0.9, 0.05, 0.05]] * 3)
    found = classification_metrics(labels, probabilities, names(3))
    assert (found["accuracy"], found["macro_f1"], found["weighted_f1"]) == (1.0, pytest.approx(1 / 3), 1.0)
    assert found["mcc"] == 0.0
    assert found["per_class"]["class 2"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_ties_take_the_first_class_unless_predictions_are_given() -> None:
    labels, probabilities = np.array([1, 0]), np.full((2, 2), 0.5)
    assert classification_metrics(labels, probabilities, names(2))["per_class"]["class 0"]["recall"] == 1.0
    given = classification_metrics(labels, probabilities, names(2), predicted=np.array([1, 1]))
    assert given["per_class"]["class 1"]["recall"] == 1.0


def test_a_given_loss_is_kept_and_a_zero_probability_stays_finite() -> None:
    labels, probabilities = np.array([0]), np.array([[0.0, 1.0]])
    assert classification_metrics(labels, probabilities, names(2), loss=7.5)["loss"] == 7.5
    assert classification_metrics(labels, probabilities, names(2))["loss"] == pytest.approx(-math.log(1e-12))


def test_no_rows_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        classification_metrics(np.zeros(0, int), np.zeros((0, 2)), names(2))
    with pytest.raises(ValueError, match=r"\(rows, 3\)"):
        classification_metrics(np.array([0]), np.ones((1, 2)), names(3))


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_equals_a_loop_over_bins(seed: int) -> None:
    labels, probabilities = random_case(seed, 80, 3)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    expected = 0.0
    for place in range(15):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        if inside.any():
            gap = abs((labels == predicted)[inside].mean() - confidence[inside].mean())
            expected += inside.sum() / 80 * gap
    found = calibration(labels, probabilities, predicted)
    assert found.error == pytest.approx(expected)
    assert found.counts.sum() == 80
    assert classification_metrics(labels, probabilities, names(3))["ece"] == found.error


def test_calibration_puts_the_ends_into_the_outer_bins() -> None:
    found = calibration(np.array([0, 0]), np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert (found.counts[0], found.counts[-1], found.error) == (1, 1, 0.0)


def test_softmax_is_stable_and_sums_to_one() -> None:
    values = softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]], dtype=np.float32))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, [[1, 0], [0.5, 0.5]])


def test_confusion_matrix_counts_true_by_predicted() -> None:
    matrix = confusion_matrix(np.array([0, 0, 2]), np.array([1, 0, 2]), 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert row_percent(matrix)[:2].tolist() == [[50, 50, 0, 0], [0, 0, 0, 0]]


def test_report_text_has_a_line_a_class() -> None:
    text = classification_report_text(np.array([0, 1]), np.array([0, 1]), ["two\nlines", "plain", "absent"])
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert ["two", "lines", "1.0000", "1.0000", "1.0000", "1"] in lines
    assert ["absent", "0.0000", "0.0000", "0.0000", "0"] in lines
