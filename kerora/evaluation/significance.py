"""Bootstrap intervals of metrics and of their differences, and McNemar's test of two models."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from kerora.evaluation.metrics import confusion_matrix

MatrixMetric = Callable[[np.ndarray], np.ndarray]
"""A metric of a stack of confusion matrices: (samples, classes, classes) -> (samples,)."""

# rows with different answers below which McNemar's test is the exact binomial test
EXACT_BELOW = 25
SIGNIFICANCE = 0.05
"""The level of the tests: a smaller p-value counts as a difference."""
# with 1,000 resamples, 25 lie beyond each end of the 95 % interval
SAMPLES, LEVEL = 1000, 0.95
# bounds the memory of the bootstrap: with many classes, fewer resamples are computed together
_CELLS_AT_ONCE = 2_000_000


def accuracy(matrices: np.ndarray) -> np.ndarray:
    """Return the accuracy of each confusion matrix, shape (samples, classes, classes) -> (samples,)."""
    return np.asarray(np.trace(matrices, axis1=1, axis2=2) / matrices.sum(axis=(1, 2)))


def macro_f1(matrices: np.ndarray) -> np.ndarray:
    """Return the macro F1 of each confusion matrix, shape (samples, classes, classes) -> (samples,).

    A class with neither rows nor predictions counts as 0, as in `classification_metrics`.
    """
    # F1 = 2 tp / (2 tp + fp + fn): rows and columns of a class add up to this denominator
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    totals = matrices.sum(axis=1) + matrices.sum(axis=2)
    return np.asarray((2 * hits / np.maximum(totals, 1)).mean(axis=1))


def bootstrap_interval(
    labels: np.ndarray,
    predicted: np.ndarray,
    metric: MatrixMetric = accuracy,
    samples: int = SAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    count: int | None = None,
) -> tuple[float, float]:
    """Return a percentile bootstrap interval of a metric, resampling rows (Efron 1979).

    If rows are sampled with replacement, the cells of the confusion matrix have a multinomial distribution. So the
    function samples the cells, and the cost does not depend on the number of rows.

    Args:
        labels: class numbers, shape (rows,).
        predicted: class numbers, shape (rows,).
        metric: `accuracy`, `macro_f1`, or another function of stacked confusion matrices.
        samples: number of resamples. Default: 1000.
        seed: seed of the resampling. Default: 0.
        level: share of the resamples inside the interval. Default: 0.95.
        count: number of classes. None takes the highest class number plus one.

    Returns:
        The lower and the upper end.
    """
    classes = count or int(max(labels.max(), predicted.max())) + 1
    matrix = confusion_matrix(labels, predicted, classes).ravel()
    # cells without rows stay empty in every resample
    cells = np.flatnonzero(matrix)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(labels), matrix[cells] / len(labels), size=samples)
    step = max(1, _CELLS_AT_ONCE // len(matrix))
    values = [_evaluate(draws[start : start + step], cells, classes, metric) for start in range(0, samples, step)]
    low, high = np.quantile(np.concatenate(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """A metric of one model minus the same metric of another, on the same rows.

    Attributes:
        value: the difference.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
    """

    value: float
    low: float
    high: float


def matrix_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, metric: MatrixMetric, count: int, seed: int = 0
) -> Difference:
    """Return the difference of a metric of two classifiers, with a paired bootstrap interval.

    Each resample has the same rows for both (Efron and Tibshirani 1993, chapter 16). As in `bootstrap_interval`, the
    function samples the numbers of the rows with the same label and the same two predictions.

    Args:
        labels: class numbers, shape (rows,).
        first: class numbers that the first model predicts, shape (rows,).
        second: the same for the second model.
        metric: a function of stacked confusion matrices.
        count: number of classes.
        seed: seed of the resampling. Default: 0.
    """
    kinds, rows = np.unique(np.stack([labels, first, second]), axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    # number 0 is the data itself
    draws = np.vstack([rows, generator.multinomial(len(labels), rows / len(labels), size=SAMPLES)])
    sides = [_of_cells(draws, kinds[0] * count + predicted, count, metric) for predicted in kinds[1:]]
    return _difference(sides[0] - sides[1])


def row_difference(difference: Callable[[np.ndarray], float], rows: int, seed: int = 0) -> Difference:
    """Return the difference of any metric of two models, with a paired bootstrap interval.

    Args:
        difference: returns the metric of the first model minus that of the second on the rows at some places,
            int64 (rows,). A place can occur several times. Return NaN if the metric is undefined for these rows.
        rows: number of rows.
        seed: seed of the resampling. Default: 0.
    """
    generator = np.random.default_rng(seed)
    # number 0 is the data itself
    places = [np.arange(rows), *(generator.integers(0, rows, rows) for _ in range(SAMPLES))]
    return _difference(np.array([difference(some) for some in places]))


def _difference(values: np.ndarray) -> Difference:
    low, high = np.nanquantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(values[0]), float(low), float(high))


def _of_cells(draws: np.ndarray, cells: np.ndarray, classes: int, metric: MatrixMetric) -> np.ndarray:
    # rows of several kinds can lie in one cell: their counts are added
    order = np.argsort(cells, kind="stable")
    filled, starts = np.unique(cells[order], return_index=True)
    added = np.add.reduceat(draws[:, order], starts, axis=1)
    step = max(1, _CELLS_AT_ONCE // classes**2)
    parts = [_evaluate(added[start : start + step], filled, classes, metric) for start in range(0, len(added), step)]
    return np.concatenate(parts)


def _evaluate(draws: np.ndarray, cells: np.ndarray, classes: int, metric: MatrixMetric) -> np.ndarray:
    # the samples hold only the filled cells; a metric needs whole matrices
    matrices = np.zeros((len(draws), classes * classes), dtype=np.int64)
    matrices[:, cells] = draws
    return metric(matrices.reshape(-1, classes, classes))


@dataclass(frozen=True)
class McNemar:
    """The outcome of McNemar's test.

    Attributes:
        b: rows that only the first model got right.
        c: rows that only the second model got right.
        statistic: chi-square with continuity correction. If the test is exact: the smaller of b and c.
        p_value: two-sided.
    """

    b: int
    c: int
    statistic: float
    p_value: float


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray) -> McNemar:
    """Test whether two models make equally many mistakes on the same rows (McNemar 1947).

    The test is an exact binomial test if only one model is right on fewer than 25 rows. Otherwise it is chi-square
    with continuity correction (Edwards 1948).

    Args:
        correct_a: whether the first model is right, booleans of shape (rows,).
        correct_b: the same for the second model, in the same order.
    """
    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    disagreements = only_a + only_b
    # equal answers in all rows are no evidence of a difference, and the statistic would divide by 0
    if disagreements == 0:
        return McNemar(0, 0, 0.0, 1.0)
    # the chi-square approximation is poor for small counts
    if disagreements < EXACT_BELOW:
        smaller = min(only_a, only_b)
        return McNemar(only_a, only_b, float(smaller), float(stats.binomtest(smaller, disagreements).pvalue))
    # -1 is the continuity correction; without the maximum, equal numbers would give 1 / disagreements and not 0
    statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / disagreements
    return McNemar(only_a, only_b, statistic, float(stats.chi2.sf(statistic, 1)))
