"""The paired bootstrap against scikit-learn and against what is known of paired proportions."""

import numpy as np
import pytest

from kerora.evaluation.metrics import SINGLE_METRICS, classification_metrics, confusion_matrix
from kerora.tuning.noise import RESAMPLED, metric_of_matrix, paired_bootstrap
from kerora.tuning.records import Predictions, decode_predictions, encode_predictions

CLASSES = ("a", "b", "c", "d")


def probabilities(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Predictions with an accuracy of about `right`."""
    generator = np.random.default_rng(seed)
    scores = generator.random((len(labels), len(CLASSES)))
    hits = generator.random(len(labels)) < right
    scores[hits, labels[hits]] += 2
    return scores / scores.sum(axis=1, keepdims=True)


def stored(labels: np.ndarray, values: np.ndarray) -> Predictions:
    return decode_predictions(encode_predictions(labels, values))


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, 400)  # the last class has no rows


def test_predictions_survive_the_storage(labels: np.ndarray) -> None:
    values = probabilities(labels, 0.7, 1)
    found = stored(labels, values)
    assert np.array_equal(found.predicted, values.argmax(axis=1))
    np.testing.assert_allclose(found.true_probability, values[np.arange(len(labels)), labels], rtol=1e-6)


@pytest.mark.parametrize("metric", sorted(set(RESAMPLED) - {"loss"}))
def test_metrics_of_a_matrix_are_those_of_scikit_learn(metric: str, labels: np.ndarray) -> None:
    for seed in range(4):
        values = probabilities(labels, 0.3 * seed, seed)
        expected = classification_metrics(labels, values, CLASSES)[metric]
        matrix = confusion_matrix(labels, values.argmax(axis=1), len(CLASSES))
        assert metric_of_matrix(matrix, metric) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", RESAMPLED)
def test_the_difference_is_that_of_the_metrics_mean_over_the_seeds(metric: str, labels: np.ndarray) -> None:
    sides = [[probabilities(labels, right, seed) for seed in seeds] for right, seeds in ((0.8, (1, 2)), (0.6, (3, 4)))]
    expected = [np.mean([classification_metrics(labels, values, CLASSES)[metric] for values in side]) for side in sides]
    best, default = ([stored(labels, values) for values in side] for side in sides)
    maximize = metric != "loss"
    found = paired_bootstrap(labels, best, default, metric, len(CLASSES), maximize=maximize, samples=200)
    assert found is not None and found.value == pytest.approx(expected[0] - expected[1], abs=1e-6)
    assert found.low < found.value < found.high and not found.is_noise and found.not_better < 0.05


def test_the_interval_is_that_of_paired_proportions(labels: np.ndarray) -> None:
    best, default = (stored(labels, probabilities(labels, right, seed)) for right, seed in ((0.75, 1), (0.7, 2)))
    found = paired_bootstrap(labels, [best], [default], "accuracy", len(CLASSES), samples=4000)
    gains = (best.predicted == labels).astype(float) - (default.predicted == labels)
    half = 1.96 * gains.std() / np.sqrt(len(labels))
    assert found is not None
    assert found.low == pytest.approx(gains.mean() - half, abs=0.006)
    assert found.high == pytest.approx(gains.mean() + half, abs=0.006)


def test_the_same_predictions_are_noise(labels: np.ndarray) -> None:
    same = [stored(labels, probabilities(labels, 0.7, 1))]
    found = paired_bootstrap(labels, same, same, "macro_f1", len(CLASSES), samples=50)
    assert found is not None and found.is_noise and found.not_better == 1.0 and found.low == found.high == 0.0


def test_what_cannot_be_resampled_is_not_tested(labels: np.ndarray) -> None:
    same = [stored(labels, probabilities(labels, 0.7, 1))]
    for metric in set(SINGLE_METRICS) - set(RESAMPLED):
        assert paired_bootstrap(labels, same, same, metric, len(CLASSES)) is None
    assert set(SINGLE_METRICS) - set(RESAMPLED) == {"roc_auc", "ece"}
    assert paired_bootstrap(labels, [], same, "accuracy", len(CLASSES)) is None
