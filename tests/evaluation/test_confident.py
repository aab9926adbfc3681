"""Confident learning and near neighbours: equal to cleanlab, and to what a reader computes by hand."""

import numpy as np
import pytest

from kerora.evaluation.confident import class_thresholds, confident_labels, label_issues, suspicion
from kerora.evaluation.neighbours import contradicting, nearest, outliers, same_words, unit


def noisy(seed: int, rows: int = 300, classes: int = 4, noise: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    true = generator.integers(classes, size=rows)
    logits = generator.standard_normal((rows, classes)) + 2.5 * np.eye(classes)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = generator.random(rows) < noise
    return probabilities, np.where(flipped, generator.integers(classes, size=rows), true)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes", [2, 4, 9])
def test_the_issues_and_thresholds_are_those_of_cleanlab(seed: int, classes: int) -> None:
    count, filtering = pytest.importorskip("cleanlab.count"), pytest.importorskip("cleanlab.filter")
    probabilities, labels = noisy(seed, classes=classes)
    np.testing.assert_allclose(
        class_thresholds(probabilities, labels), count.get_confident_thresholds(labels, probabilities)
    )
    expected = filtering.find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    assert expected.any()
    np.testing.assert_array_equal(label_issues(probabilities, labels), expected)


def test_the_order_of_suspicion_is_that_of_the_normalized_margin_of_cleanlab() -> None:
    rank = pytest.importorskip("cleanlab.rank")
    probabilities, labels = noisy(1)
    margin = rank.get_normalized_margin_for_each_label(labels, probabilities)
    np.testing.assert_allclose(suspicion(probabilities, labels), 1 - 2 * margin, atol=1e-12)


def test_a_class_without_rows_is_no_candidate() -> None:
    probabilities = np.array([[0.2, 0.1, 0.7], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    labels = np.array([0, 0, 1])
    assert class_thresholds(probabilities, labels)[2] == np.inf
    assert confident_labels(probabilities, labels).tolist() == [-1, 0, 1]
    assert not label_issues(probabilities, labels).any()


def test_neighbours_are_those_of_the_whole_matrix_and_a_row_is_not_its_own() -> None:
    vectors = np.random.default_rng(0).standard_normal((600, 8)).astype(np.float32)
    places, similar = nearest(vectors, 3)
    whole = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(whole, -np.inf)
    np.testing.assert_array_equal(places, np.argsort(-whole, axis=1, kind="stable")[:, :3])
    np.testing.assert_allclose(similar, np.take_along_axis(whole, places, axis=1), atol=1e-6)
    assert nearest(vectors[:1])[0].shape == (1, 0) and nearest(vectors[:3], 10)[0].shape == (3, 2)


def test_near_duplicates_share_words_and_have_another_label() -> None:
    texts = ["My parcel is late again", "my parcel is LATE", "my parcel is late!", "Refund please"]
    places = np.array([[1, 2, 3], [2, 0, 3], [1, 0, 3], [0, 1, 2]])
    assert contradicting(texts, [0, 0, 1, 1], places).tolist() == [2, 2, 1, -1]
    assert same_words("...", "...") == 1 and same_words("a", "b") == 0


def test_an_outlier_is_far_from_the_others() -> None:
    generator = np.random.default_rng(0)
    centre = np.eye(32)[0]
    vectors = np.concatenate([centre + 0.1 * generator.standard_normal((60, 32)), -centre[None]])
    found = outliers(nearest(vectors)[1])
    assert found[-1] and found.sum() <= 4
    assert not outliers(nearest(np.ones((5, 3)))[1]).any() and outliers(np.zeros((1, 0))).tolist() == [False]
