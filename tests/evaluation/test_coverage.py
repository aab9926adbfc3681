"""Coverage curves against a count of every threshold, and the bound against scipy's beta distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from kerora.evaluation.coverage import coverage_curve, lower_bound

# few different scores, so that many rows have the same one
ROWS = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.500001, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40)


def test_the_bound_is_the_quantile_of_the_beta_distribution() -> None:
    for rows in (1, 2, 25, 209, 100_000):
        right = np.unique(np.linspace(0, rows, 12).astype(int))
        expected = np.where(right > 0, beta.ppf(0.05, np.maximum(right, 1), rows - right + 1), 0.0)
        np.testing.assert_allclose(lower_bound(right, np.full(len(right), rows)), expected, rtol=1e-9)
    # all right: the share that is right in all of n rows with a probability of 5 %
    assert float(lower_bound(50, 50)) == pytest.approx(0.05 ** (1 / 50))


def counted(rows: list[tuple[float, bool]], threshold: float) -> tuple[int, int]:
    answered = [right for score, right in rows if score >= threshold]
    return len(answered), sum(answered)


@given(ROWS, st.sampled_from([0.1, 0.5, 0.8, 0.95, 0.999]))
def test_the_smallest_threshold_that_reaches_an_accuracy(rows: list[tuple[float, bool]], wanted: float) -> None:
    scores, correct = (np.array(column) for column in zip(*rows, strict=True))
    curve = coverage_curve(scores, correct)
    bounds = {}
    for threshold in sorted(set(scores)):
        answered, right = counted(rows, threshold)
        bounds[threshold] = float(lower_bound(right, answered))
        found = curve.below(threshold)
        assert (found.answered, found.rows) == (answered, len(rows))
        assert found.accuracy == pytest.approx(right / answered)
    assert curve.thresholds.tolist() == sorted(set(scores), reverse=True)
    good = [threshold for threshold, bound in bounds.items() if bound >= wanted]
    reached = curve.reaching(wanted)
    assert (None if reached is None else reached.threshold) == (min(good) if good else None)
    assert curve.best().bound == pytest.approx(max(bounds.values()))


def test_thresholds_between_and_beyond_the_scores() -> None:
    curve = coverage_curve(np.array([0.4, 0.9, 0.6]), np.array([False, True, True]))
    assert curve.below(0.0).answered == 3 and curve.below(0.5).answered == 2 and curve.below(0.9).answered == 1
    none = curve.below(0.95)
    assert (none.answered, none.share, none.accuracy, none.bound) == (0, 0.0, None, None)
    assert none.described() == "threshold 0.95 answers 0 of 3 rows (0.0%)"
    with pytest.raises(ValueError, match="at least one row"):
        coverage_curve(np.zeros(0), np.zeros(0, bool))


def test_what_is_printed_is_reached() -> None:
    curve = coverage_curve(np.linspace(1, 0.5, 113).round(6), np.arange(113) % 17 != 16)
    best = curve.best()
    assert best.bound is not None and best.rounded_bound <= best.bound < best.rounded_bound + 1e-4
    assert curve.reaching(best.rounded_bound) is not None
