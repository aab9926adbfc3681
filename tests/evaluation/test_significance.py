"""Bootstrap intervals against resampled rows, McNemar's test against sums of binomial terms."""

import math
import time

import numpy as np
import pytest
from sklearn.metrics import f1_score

from kerora.evaluation.metrics import confusion_matrix
from kerora.evaluation.significance import accuracy, bootstrap_interval, macro_f1, mcnemar


def rows(seed: int, count: int, classes: int, right: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    predicted = np.where(generator.random(count) < right, labels, generator.integers(0, classes, count))
    return labels, predicted


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_stacked_metrics_equal_scikit_learn(classes: int) -> None:
    cases = [rows(seed, 40, classes, 0.6) for seed in range(6)]
    stack = np.stack([confusion_matrix(labels, predicted, classes) for labels, predicted in cases])
    expected = [f1_score(*case, labels=range(classes), average="macro", zero_division=0) for case in cases]
    np.testing.assert_allclose(macro_f1(stack), expected)
    np.testing.assert_allclose(accuracy(stack), [np.mean(labels == predicted) for labels, predicted in cases])


def test_absent_class_counts_as_zero() -> None:
    labels = np.array([0, 1, 0, 1])
    assert macro_f1(confusion_matrix(labels, labels, 4)[None])[0] == 0.5


@pytest.mark.parametrize("metric", [accuracy, macro_f1])
def test_interval_agrees_with_resampling_rows_one_by_one(metric) -> None:
    labels, predicted = rows(3, 300, 3, 0.7)
    generator = np.random.default_rng(11)
    draws = generator.integers(0, 300, size=(4000, 300))
    cells = labels * 3 + predicted
    values = metric(np.stack([np.bincount(cells[draw], minlength=9).reshape(3, 3) for draw in draws]))
    expected = np.quantile(values, [0.025, 0.975])
    # Quantiles of 4,000 draws scatter by about 4 % of the interval's width.
    np.testing.assert_allclose(bootstrap_interval(labels, predicted, metric, samples=4000), expected, atol=0.01)


def test_interval_is_near_the_normal_approximation() -> None:
    labels = np.zeros(2000, int)
    predicted = np.repeat([0, 1], [1600, 400])
    low, high = bootstrap_interval(labels, predicted)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 2000)
    assert (low, high) == (pytest.approx(0.8 - half, abs=0.003), pytest.approx(0.8 + half, abs=0.003))


def test_interval_repeats_with_the_seed_and_narrows_with_the_level() -> None:
    labels, predicted = rows(1, 100, 2, 0.8)
    wide = bootstrap_interval(labels, predicted, seed=5)
    assert wide == bootstrap_interval(labels, predicted, seed=5)
    narrow = bootstrap_interval(labels, predicted, seed=5, level=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_interval_of_one_row_and_of_perfect_rows_is_a_point() -> None:
    assert bootstrap_interval(np.array([1]), np.array([0])) == (0.0, 0.0)
    labels = np.arange(60) % 3
    assert bootstrap_interval(labels, labels, macro_f1) == (1.0, 1.0)


def test_many_rows_and_many_classes_are_fast() -> None:
    labels, predicted = rows(0, 5000, 150, 0.6)
    start = time.perf_counter()
    low, high = bootstrap_interval(labels, predicted, macro_f1, count=150)
    assert low < 0.61 < high
    assert time.perf_counter() - start < 2


def disagree(only_a: int, only_b: int, agree: int = 20) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, False, True], [only_a, only_b, agree])
    return a, np.repeat([False, True, True], [only_a, only_b, agree])


@pytest.mark.parametrize("only_a, only_b", [(6, 16), (1, 0), (0, 9), (12, 12), (3, 21)])
def test_few_disagreements_use_the_exact_binomial(only_a: int, only_b: int) -> None:
    total, smaller = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(total, place) for place in range(smaller + 1)) / 2**total
    found = mcnemar(*disagree(only_a, only_b))
    assert (found.b, found.c, found.statistic) == (only_a, only_b, smaller)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.parametrize("only_a, only_b", [(10, 15), (150, 86), (40, 40), (30, 31)])
def test_many_disagreements_use_chi_square_with_continuity_correction(only_a: int, only_b: int) -> None:
    statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / (only_a + only_b)
    found = mcnemar(*disagree(only_a, only_b))
    assert found.statistic == pytest.approx(statistic)
    # A chi-square variable with one degree of freedom is a squared normal one.
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(statistic / 2)))


def test_a_worked_example() -> None:
    # 12 against 34 disagreements: (|12 - 34| - 1)^2 / 46 = 441 / 46 = 9.587, p = 0.00196.
    found = mcnemar(*disagree(12, 34))
    assert (round(found.statistic, 3), round(found.p_value, 5)) == (9.587, 0.00196)


def test_no_disagreement_means_no_difference() -> None:
    found = mcnemar(*disagree(0, 0))
    assert (found.b, found.c, found.statistic, found.p_value) == (0, 0, 0.0, 1.0)
