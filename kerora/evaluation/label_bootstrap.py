"""Bootstrap of metrics of several labels per text: intervals, standard errors, and the difference of two models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kerora.evaluation.label_metrics import row_losses
from kerora.evaluation.significance import Difference

SAMPLES = 1000
# bounds the memory: fewer resamples are computed together
_CELLS_AT_ONCE = 4_000_000
# resamples that a standard error takes at most, and the numbers that they may hold for average precision
ERROR_SAMPLES, _MOST_CELLS = 100, 20_000_000
COUNTED = ("micro_f1", "macro_f1", "weighted_f1", "samples_f1", "hamming_loss", "subset_accuracy")
"""The metrics that are functions of counts, which a resample weights."""


def resampled(
    labels: np.ndarray, predicted: np.ndarray, samples: int = SAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return the metrics of resampled rows (Efron 1979), each of shape (samples,).

    The same seed and number of rows give the same resamples, so that the metrics of two models can be subtracted.

    Args:
        labels: whether each row has each label, bool (rows, classes).
        predicted: which labels are predicted, bool (rows, classes).
        samples: number of resamples. Default: 1000.
        seed: seed of the resampling. Default: 0.
    """
    of_weights = metrics_of_weights(labels, predicted)
    rows = len(labels)
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // max(1, rows))
    parts = [of_weights(drawn(rows, min(step, samples - start), generator)) for start in range(0, samples, step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in COUNTED}


def metrics_of_weights(labels: np.ndarray, predicted: np.ndarray) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a function from the weight of each row, float64 (samples, rows), to the metrics, each (samples,).

    Args:
        labels: whether each row has each label, bool (rows, classes).
        predicted: which labels are predicted, bool (rows, classes).
    """
    truth, answers = np.asarray(labels, dtype=bool), np.asarray(predicted, dtype=bool)
    hits, either = truth & answers, (truth.astype(np.int8) + answers)
    # (rows, 3): of each row its F1, its share of wrong labels, and whether all are right
    each = np.stack(
        [
            np.where(either.any(axis=1), 2 * hits.sum(axis=1) / np.maximum(either.sum(axis=1), 1), 1.0),
            (truth != answers).mean(axis=1),
            (truth == answers).all(axis=1),
        ],
        axis=1,
    )
    return lambda weights: _metrics(weights, hits, either, truth, each)


def drawn(rows: int, samples: int, generator: np.random.Generator) -> np.ndarray:
    """Return how often each row is in each resample, float64 (samples, rows)."""
    return generator.multinomial(rows, np.full(rows, 1 / rows), size=samples).astype(np.float64)


def _metrics(
    weights: np.ndarray, hits: np.ndarray, either: np.ndarray, truth: np.ndarray, each: np.ndarray
) -> dict[str, np.ndarray]:
    # (samples, classes): 2 tp, 2 tp + fp + fn, and rows with the label
    double, totals, support = 2 * (weights @ hits), weights @ either, weights @ truth
    f1 = double / np.maximum(totals, 1)
    means = weights @ each / weights.sum(axis=1, keepdims=True)
    return {
        "micro_f1": double.sum(axis=1) / np.maximum(totals.sum(axis=1), 1),
        "macro_f1": f1.mean(axis=1),
        "weighted_f1": (f1 * support).sum(axis=1) / np.maximum(support.sum(axis=1), 1),
        "samples_f1": means[:, 0],
        "hamming_loss": means[:, 1],
        "subset_accuracy": means[:, 2],
    }


def intervals(
    labels: np.ndarray, predicted: np.ndarray, samples: int = SAMPLES, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Return the percentile bootstrap interval of each metric of `COUNTED`."""
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {name: np.quantile(values, ends) for name, values in resampled(labels, predicted, samples, seed).items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def standard_errors(
    labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, at_half: np.ndarray
) -> dict[str, float]:
    """Return the standard errors of the metrics: how much they would vary with other rows of the same kind.

    They are those of 100 resamples. `ranking_loss` has none. Of many rows, `map` takes fewer resamples.

    Args:
        labels: whether each row has each label, bool (rows, classes).
        probabilities: (rows, classes).
        predicted: which labels are predicted, bool (rows, classes).
        at_half: which labels are predicted at threshold 0.5, bool (rows, classes).
    """
    errors = {name: float(values.std()) for name, values in resampled(labels, predicted, ERROR_SAMPLES).items()}
    errors["macro_f1_at_half"] = float(resampled(labels, at_half, ERROR_SAMPLES)["macro_f1"].std())
    losses = row_losses(labels, probabilities)
    errors["loss"] = float(losses.std() / np.sqrt(len(losses)))
    samples = int(np.clip(_MOST_CELLS // max(1, labels.size), 10, ERROR_SAMPLES))
    errors["map"] = float(mean_average_precision(labels, probabilities, samples).std())
    return errors


def mean_average_precision(labels: np.ndarray, probabilities: np.ndarray, samples: int, seed: int = 0) -> np.ndarray:
    """Return the mean average precision of resampled rows, (samples,).

    A class that a resample has no rows of is left out of its mean.
    """
    weights = drawn(len(labels), samples, np.random.default_rng(seed))
    total, classes = np.zeros(samples), np.zeros(samples)
    for truth, scores in zip(np.asarray(labels, bool).T, probabilities.T, strict=True):
        order = np.argsort(-scores, kind="stable")
        last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        hits = np.cumsum(weights[:, order] * truth[order], axis=1)[:, last]
        seen = np.cumsum(weights[:, order], axis=1)[:, last]
        positive = hits[:, -1]
        gained = np.diff(hits, axis=1, prepend=0.0) / np.maximum(positive, 1)[:, None]
        total += (gained * hits / np.maximum(seen, 1)).sum(axis=1)
        classes += positive > 0
    return np.asarray(total / np.maximum(classes, 1))


@dataclass(frozen=True)
class TestedDifference(Difference):
    """A difference with the result of a paired bootstrap.

    Attributes:
        p_value: two-sided: twice the share of the resamples in which the difference has the other sign.
    """

    p_value: float


def paired_differences(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, values: Mapping[str, float], samples: int = SAMPLES
) -> dict[str, TestedDifference]:
    """Compare the predictions of two models on the same rows by a paired bootstrap.

    Args:
        labels: whether each row has each label, bool (rows, classes).
        first: the labels that one model predicts, bool (rows, classes).
        second: those of the other.
        values: the differences on the rows themselves, by metric of `COUNTED`.
        samples: number of resamples. Default: 1000.
    """
    ours, theirs = resampled(labels, first, samples), resampled(labels, second, samples)
    found = {}
    for name, value in values.items():
        differences = ours[name] - theirs[name]
        low, high = np.quantile(differences, [0.025, 0.975])
        # one is added to both counts, so that a finite number of resamples never gives 0
        smaller = min((differences <= 0).sum(), (differences >= 0).sum())
        p_value = min(1.0, 2 * (int(smaller) + 1) / (samples + 1))
        found[name] = TestedDifference(value, float(low), float(high), p_value)
    return found
