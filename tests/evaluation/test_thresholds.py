"""The thresholds are those that trying all of them finds."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from kerora.evaluation.thresholds import best_threshold, best_thresholds


@pytest.mark.parametrize("seed", range(40))
def test_all_cut_points_by_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows = int(generator.integers(1, 40))
    # one decimal gives ties
    probabilities = generator.random(rows).round(1 if seed % 2 else 12)
    labels = generator.random(rows) < generator.random()
    found = best_threshold(labels, probabilities)
    tried = {cut: f1_score(labels, probabilities >= cut, zero_division=0) for cut in (*probabilities, 1.1)}
    best = max(tried.values())
    if labels.any():
        assert f1_score(labels, probabilities >= found, zero_division=0) == pytest.approx(best)
    else:
        assert found == 0.5
    assert 0 <= found <= 1


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], 0.5),
        ([1, 0], [0.04, 0.02], 0.03),
        # F1 is 2/3 with the first row and with all rows, at 0.85 and 0.1: 0.85 is nearer to 0.5
        ([1, 0, 0, 1], [0.9, 0.8, 0.7, 0.2], 0.85),
        ([1, 1, 1], [0.9, 0.6, 0.4], 0.2),
        ([0, 0, 0], [0.9, 0.6, 0.4], 0.5),
        ([1, 0, 1], [0.5, 0.5, 0.5], 0.25),
        ([1, 0], [1.0, 1.0], 0.5),
    ],
)
def test_rules(labels: list[int], probabilities: list[float], expected: float) -> None:
    assert best_threshold(np.array(labels, bool), np.array(probabilities)) == pytest.approx(expected)


def test_of_equal_f1_the_threshold_nearest_to_half() -> None:
    # 2/3 above 0.85 (one found of two, none wrong) and above 0.3 (two found, two wrong)
    labels, probabilities = np.array([1, 0, 0, 1], bool), np.array([0.95, 0.75, 0.7, 0.6])
    assert best_threshold(labels, probabilities) == pytest.approx(0.3)
    assert best_threshold(labels, probabilities / 1.5) == pytest.approx(0.95 / 3 + 0.75 / 3)


def test_one_for_each_label() -> None:
    labels = np.array([[1, 0], [0, 0], [1, 0]], bool)
    found = best_thresholds(labels, np.array([[0.3, 0.9], [0.1, 0.8], [0.4, 0.7]]))
    assert found.dtype == np.float64 and found.tolist() == pytest.approx([0.2, 0.5])
