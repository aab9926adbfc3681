"""The metrics of predicted numbers, computed by scikit-learn and SciPy, with intervals and a paired comparison."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

NUMBER_METRICS = ("mae", "rmse", "r2", "pearson", "spearman")
"""The metrics of one column of numbers."""
SINGLE_NUMBER_METRICS = ("loss", *NUMBER_METRICS)
"""The single-number metrics of a split."""
SAMPLES, LEAST_SAMPLES = 1000, 200
# resampled rows in all: bounds the time with many rows
_MOST_DRAWS = 5_000_000
# resampled rows that are computed together: bounds the memory
_DRAWS_AT_ONCE = 500_000
_SPEARMAN_FACTOR = 1.03
"""Ratio of the standard errors of Spearman's and Pearson's correlation near 0 (Fieller et al. 1957: root of 1.06)."""


def regression_metrics(
    targets: np.ndarray, predicted: np.ndarray, names: Sequence[str], loss: float | None = None
) -> dict[str, Any]:
    """Return the metrics that metrics.json holds for one split.

    Several columns give the mean over the columns, and the metrics of each column under ``per_target``.

    Args:
        targets: true numbers, shape (rows, targets).
        predicted: predicted numbers, shape (rows, targets).
        names: names of the targets.
        loss: mean of the training's loss, or None if it is unknown.

    Returns:
        ``loss, mae, rmse, r2, pearson, spearman``, and with several targets ``per_target``: ``{name: {mae, ...}}``.
        ``r2`` is None if the true numbers are constant. The correlations are None if the true or the predicted numbers
        are constant. A mean over columns is None if one of them is.

    Raises:
        ValueError: there are no rows, or the shapes do not fit together.
    """
    targets, predicted = np.asarray(targets, np.float64), np.asarray(predicted, np.float64)
    if not len(targets) or targets.shape != predicted.shape or targets.shape != (len(targets), len(names)):
        raise ValueError(
            f"targets and predictions must hold at least one row and have shape (rows, {len(names)}). "
            f"Received: shapes {targets.shape} and {predicted.shape}"
        )
    columns = [_of_column(true, found) for true, found in zip(targets.T, predicted.T, strict=True)]
    means = {key: _mean([column[key] for column in columns]) for key in NUMBER_METRICS}
    single = {"loss": loss, **means}
    return single if len(names) == 1 else {**single, "per_target": dict(zip(names, columns, strict=True))}


def _of_column(true: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    varied = _varies(true)
    both = varied and _varies(predicted)
    with warnings.catch_warnings():
        # of numbers that are nearly constant; the value is a finite number
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        pearson = float(stats.pearsonr(true, predicted).statistic) if both else None
    return {
        "mae": float(sklearn_metrics.mean_absolute_error(true, predicted)),
        "rmse": float(sklearn_metrics.root_mean_squared_error(true, predicted)),
        "r2": float(sklearn_metrics.r2_score(true, predicted)) if varied else None,
        "pearson": pearson if pearson is not None and math.isfinite(pearson) else None,
        "spearman": float(stats.spearmanr(true, predicted).statistic) if both else None,
    }


def _varies(values: np.ndarray) -> bool:
    return bool(values.min() < values.max())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def mean_prediction(targets: np.ndarray) -> dict[str, float]:
    """Return MAE and RMSE of always predicting the mean of these rows, averaged over the targets.

    An R2 of 0 is as good as this prediction.

    Args:
        targets: true numbers, shape (rows, targets).
    """
    errors = targets - targets.mean(axis=0)
    return {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean(axis=0)).mean())}


def number_errors(
    targets: np.ndarray, predicted: np.ndarray, metrics: Mapping[str, Any], losses: np.ndarray
) -> dict[str, float]:
    """Return the standard errors of the metrics: how much they would vary with other rows of the same kind.

    MAE and loss are means over rows. RMSE and R2 follow from the variance of the squared errors (delta method). For the
    correlations it is ``(1 - r^2) / sqrt(rows - 1)``. With several targets it is the mean over them, as if they varied
    together.

    Args:
        targets: shape (rows, targets).
        predicted: shape (rows, targets).
        metrics: what `regression_metrics` returns for these rows.
        losses: the loss of each row, shape (rows,).
    """
    rows = len(targets)
    root = math.sqrt(rows)
    errors = predicted - targets
    squares = errors**2
    spread = squares.std(axis=0) / root  # (targets,)
    rmse, variance = np.sqrt(squares.mean(axis=0)), targets.var(axis=0)
    found = {
        "loss": float(losses.std() / root),
        "mae": float((np.abs(errors).std(axis=0) / root).mean()),
        "rmse": float((spread / np.maximum(2 * rmse, np.finfo(float).tiny)).mean()),
    }
    if metrics.get("r2") is not None:
        found["r2"] = float((spread / variance).mean())
    for name, factor in (("pearson", 1.0), ("spearman", _SPEARMAN_FACTOR)):
        if metrics.get(name) is not None:
            # never 0: a perfect correlation of a few rows says little
            found[name] = factor * max(1 - metrics[name] ** 2, 1 / rows) / math.sqrt(max(rows - 1, 1))
    return found


def number_intervals(
    targets: np.ndarray, predicted: np.ndarray, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float] | None]:
    """Return percentile bootstrap intervals of all metrics, resampling rows (Efron 1979).

    1,000 resamples up to 5,000 rows, with more rows fewer, at least 200.

    Args:
        targets: shape (rows, targets).
        predicted: shape (rows, targets).
        seed: seed of the resampling. Default: 0.
        level: share of the resamples inside the interval. Default: 0.95.

    Returns:
        The ends by metric. None where less than half of the resamples define the metric.
    """
    drawn = _resampled([(targets, predicted)], seed)[0]
    return {name: _ends(values, level) for name, values in drawn.items()}


@dataclass(frozen=True)
class PairedBootstrap:
    """The difference of a metric between two models on the same rows.

    Attributes:
        metric: the metric.
        difference: value of the first model minus value of the second.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
        p_value: twice the share of the resamples on the smaller side of 0, at most 1.
    """

    metric: str
    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    targets: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str = "rmse", seed: int = 0
) -> PairedBootstrap | None:
    """Compare two models on the same resamples of the rows. None if a metric is undefined.

    Args:
        targets: shape (rows, targets).
        first: predictions of the first model, shape (rows, targets).
        second: predictions of the second model, shape (rows, targets).
        metric: one of `NUMBER_METRICS`. Default: ``rmse``.
        seed: seed of the resampling. Default: 0.
    """
    names = [str(number) for number in range(targets.shape[1])]
    values = [regression_metrics(targets, predicted, names)[metric] for predicted in (first, second)]
    one, other = (drawn[metric] for drawn in _resampled([(targets, first), (targets, second)], seed, (metric,)))
    differences = (one - other)[np.isfinite(one - other)]
    if None in values or not len(differences):
        return None
    low, high = np.quantile(differences, [0.025, 0.975])
    sides = [float((differences <= 0).mean()), float((differences >= 0).mean())]
    return PairedBootstrap(metric, values[0] - values[1], float(low), float(high), min(1.0, 2 * min(sides)))


def _resampled(
    models: Sequence[tuple[np.ndarray, np.ndarray]], seed: int, metrics: Sequence[str] = NUMBER_METRICS
) -> list[dict[str, np.ndarray]]:
    """Return the metrics of resamples of the rows, (samples,) each, of every model on the same resamples."""
    rows = len(models[0][0])
    samples = int(np.clip(_MOST_DRAWS // rows, LEAST_SAMPLES, SAMPLES))
    generator = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // rows)
    found: list[list[dict[str, np.ndarray]]] = []
    for start in range(0, samples, step):
        drawn = generator.integers(0, rows, (min(step, samples - start), rows))
        found.append([_of_samples(true, predicted, drawn, metrics) for true, predicted in models])
    return [
        {name: np.concatenate([part[number][name] for part in found]) for name in metrics}
        for number in range(len(models))
    ]


def _of_samples(
    targets: np.ndarray, predicted: np.ndarray, drawn: np.ndarray, metrics: Sequence[str]
) -> dict[str, np.ndarray]:
    columns = [
        _of_draws(true[drawn], found[drawn], metrics) for true, found in zip(targets.T, predicted.T, strict=True)
    ]
    return {name: np.mean([column[name] for column in columns], axis=0) for name in metrics}


def _of_draws(true: np.ndarray, predicted: np.ndarray, metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """Return metrics of stacked samples (samples, rows) -> (samples,). NaN where a metric is undefined."""
    errors = predicted - true
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        if "mae" in metrics:
            found["mae"] = np.abs(errors).mean(axis=1)
        squares = (errors**2).mean(axis=1)
        if "rmse" in metrics:
            found["rmse"] = np.sqrt(squares)
        if "r2" in metrics:
            found["r2"] = 1 - squares / true.var(axis=1)
        if "pearson" in metrics:
            found["pearson"] = _correlation(true, predicted)
        if "spearman" in metrics:
            found["spearman"] = _correlation(stats.rankdata(true, axis=1), stats.rankdata(predicted, axis=1))
    return found


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    one, other = (values - values.mean(axis=1, keepdims=True) for values in (first, second))
    return np.asarray((one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1)))


def _ends(values: np.ndarray, level: float) -> tuple[float, float] | None:
    known = values[np.isfinite(values)]
    # a metric that most resamples leave undefined has no interval
    if len(known) < len(values) / 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
