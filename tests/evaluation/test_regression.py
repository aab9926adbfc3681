"""The metrics of numbers are those of scikit-learn and SciPy, and are defined for constants without a warning."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from kerora.evaluation.directions import is_lower_better
from kerora.evaluation.regression import (
    NUMBER_METRICS,
    mean_prediction,
    number_errors,
    number_intervals,
    paired_bootstrap,
    regression_metrics,
)


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    true = generator.normal(3, 2, (200, 2))
    return true, true * 0.7 + generator.normal(0, 1, true.shape)


def test_metrics_are_those_of_scikit_learn(rows: tuple[np.ndarray, np.ndarray]) -> None:
    true, found = rows
    metrics = regression_metrics(true, found, ["a", "b"], 0.5)
    assert metrics["loss"] == 0.5
    assert metrics["mae"] == pytest.approx(sk.mean_absolute_error(true, found))
    assert metrics["rmse"] == pytest.approx(sk.root_mean_squared_error(true, found))
    assert metrics["r2"] == pytest.approx(sk.r2_score(true, found))
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        each = [function(true[:, k], found[:, k]).statistic for k in range(2)]
        assert metrics[name] == pytest.approx(np.mean(each))
        assert metrics["per_target"]["b"][name] == pytest.approx(each[1])
    assert "per_target" not in regression_metrics(true[:, :1], found[:, :1], ["a"])
    assert [is_lower_better(name) for name in NUMBER_METRICS] == [True, True, False, False, False]
    mean = mean_prediction(true)
    assert mean["rmse"] == pytest.approx(true.std(0).mean())


def test_constants_give_defined_values_without_a_warning(rows: tuple[np.ndarray, np.ndarray]) -> None:
    true = rows[0][:, :1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flat = regression_metrics(true, np.full_like(true, 3.0), ["a"])
        assert flat["pearson"] is None and flat["spearman"] is None and flat["r2"] <= 0
        same = regression_metrics(np.ones((3, 1)), np.array([[1.0], [2.0], [3.0]]), ["a"])
        assert same["r2"] is None and same["pearson"] is None and same["mae"] == 1.0
        one = regression_metrics(np.ones((1, 1)), np.ones((1, 1)), ["a"])
        assert one["rmse"] == 0.0 and one["r2"] is None
        errors = number_errors(true, np.full_like(true, 3.0), flat, np.ones(len(true)))
        assert "pearson" not in errors and errors["mae"] > 0
        intervals = number_intervals(np.ones((3, 1)), np.ones((3, 1)))
        assert intervals["pearson"] is None and intervals["mae"] == (0.0, 0.0)
        near = regression_metrics(true, true * 1e-12 + 1.0, ["a"])
        assert near["pearson"] is None or -1 <= near["pearson"] <= 1
    with pytest.raises(ValueError, match="shape"):
        regression_metrics(true, true, ["a", "b"])


def test_intervals_and_standard_errors_agree_with_repeated_samples() -> None:
    generator = np.random.default_rng(1)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        true = generator.normal(0, 1, (150, 1))
        return true, 0.8 * true + generator.normal(0, 0.6, true.shape)

    drawn = [regression_metrics(*sample(), ["a"]) for _ in range(300)]
    true, found = sample()
    metrics = regression_metrics(true, found, ["a"])
    errors = number_errors(true, found, metrics, ((true - found) ** 2).mean(1))
    for name, (low, high) in ((key, ends) for key, ends in number_intervals(true, found).items() if ends):
        spread = float(np.std([one[name] for one in drawn]))
        assert (high - low) / 3.92 == pytest.approx(spread, rel=0.35), name
        assert errors[name] == pytest.approx(spread, rel=0.5), name
        assert low < metrics[name] < high


def test_the_paired_bootstrap(rows: tuple[np.ndarray, np.ndarray]) -> None:
    true, found = rows
    worse = found + np.random.default_rng(2).normal(0, 0.8, found.shape)
    test = paired_bootstrap(true, found, worse)
    assert test is not None and test.difference < 0 and test.high < 0 and test.p_value < 0.05
    same = paired_bootstrap(true, found, found)
    assert same is not None and same.difference == 0 and same.p_value == 1.0
    assert paired_bootstrap(true, found, np.ones_like(true), "pearson") is None
