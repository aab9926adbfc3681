"""What a search of classifiers stores and resamples, against scikit-learn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kerora.data.rows import Dataset, Rows
from kerora.evaluation.metrics import SINGLE_METRICS, classification_metrics
from kerora.tasks.classification.callback import ClassificationReport
from kerora.tasks.classification.search import RESAMPLED, predictions, resampled, weak
from kerora.tuning.packing import pack, unpack

CLASSES = ("a", "b", "c", "d")


def probabilities(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Predictions with an accuracy of about `right`."""
    generator = np.random.default_rng(seed)
    scores = generator.random((len(labels), len(CLASSES)))
    hits = generator.random(len(labels)) < right
    scores[hits, labels[hits]] += 2
    return scores / scores.sum(axis=1, keepdims=True)


def dataset(labels: np.ndarray, classes: tuple[str, ...] = CLASSES) -> Dataset[Rows[int]]:
    rows: Rows[int] = Rows.numbered([""] * len(labels), labels.tolist())
    return Dataset("made", classes, {"validation": rows})


def stored(labels: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """What a search stores of a report whose batches have the rows in another order."""
    order = np.random.default_rng(9).permutation(len(labels))
    report: Any = ClassificationReport(SimpleNamespace(order=order))
    report.probabilities = values[order]
    text = pack(predictions(report, dataset(labels)["validation"]))
    assert text is not None
    return unpack(text)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, 400)  # the last class has no rows


def test_predictions_are_in_the_order_of_the_rows(labels: np.ndarray) -> None:
    values = probabilities(labels, 0.7, 1)
    found = stored(labels, values)
    assert np.array_equal(found["predicted"], values.argmax(axis=1)) and found["predicted"].dtype == np.uint8
    np.testing.assert_allclose(found["true_probability"], values[np.arange(len(labels)), labels], rtol=1e-6)


def test_more_classes_than_two_bytes_count() -> None:
    labels = np.array([69_999, 3, 65_536])
    values = np.zeros((3, 70_000), np.float32)
    values[[0, 1, 2], [69_999, 65_537, 65_536]] = 1.0
    found = stored(labels, values)
    assert found["predicted"].tolist() == [69_999, 65_537, 65_536]
    accuracy = resampled("accuracy", found, dataset(labels, tuple(map(str, range(70_000)))))
    assert not isinstance(accuracy, str) and accuracy(np.array([1, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", RESAMPLED)
def test_a_resampled_metric_is_that_of_scikit_learn_on_the_repeated_rows(metric: str, labels: np.ndarray) -> None:
    for seed in range(4):
        values = probabilities(labels, 0.3 * seed, seed)
        function = resampled(metric, stored(labels, values), dataset(labels))
        assert not isinstance(function, str)
        counts = np.random.default_rng(seed).multinomial(len(labels), np.full(len(labels), 1 / len(labels)))
        for drawn in (np.ones(len(labels), np.int64), counts):
            rows = np.repeat(np.arange(len(labels)), drawn)
            expected = classification_metrics(labels[rows], values[rows], CLASSES)[metric]
            assert function(drawn) == pytest.approx(expected, abs=1e-6 if metric == "loss" else 1e-12)


def test_what_needs_all_probabilities_is_not_resampled(labels: np.ndarray) -> None:
    assert set(SINGLE_METRICS) - set(RESAMPLED) == {"roc_auc", "ece"}
    for metric in ("roc_auc", "ece"):
        assert resampled(metric, {}, dataset(labels)) == "this metric needs more than the stored predictions"


def test_a_model_that_is_no_better_than_the_most_frequent_class_is_named(labels: np.ndarray) -> None:
    assert weak({"accuracy": 0.9, "macro_f1": 0.9}, dataset(labels)) is None
    assert "the most frequent class of the validation rows" in str(
        weak({"accuracy": 0.1, "macro_f1": 0.1}, dataset(labels))
    )
