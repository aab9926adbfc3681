"""Tests whether a trial is better than the defaults beyond chance: a paired bootstrap on the validation rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kerora.tuning.records import Record
from kerora.tuning.search import Search

# with 1,000 resamples, 25 lie beyond each end of the 95 % interval
SAMPLES, LEVEL = 1000, 0.95
Resampled = Callable[[np.ndarray], float]
"""A metric as a function of the number of times that each row counts; see `SearchFace.resampled`."""


@dataclass(frozen=True)
class Difference:
    """Metric of the best trial minus metric of the defaults.

    Attributes:
        value: the difference on the validation rows, mean over the seeds.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        not_better: fraction of the resamples in which the best trial is not better.
    """

    value: float
    low: float
    high: float
    not_better: float

    @property
    def is_noise(self) -> bool:
        """Whether the interval includes zero."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Verdict:
    """Whether a search found better settings than the defaults.

    Attributes:
        sentence: the answer as a sentence.
        difference: the difference to the defaults. None if it was not tested.
    """

    sentence: str
    difference: Difference | None = None


def paired_bootstrap(
    rows: int,
    best: Sequence[Resampled],
    default: Sequence[Resampled],
    *,
    maximize: bool = True,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Difference | None:
    """Resample the same rows for both and compare the metric (Efron and Tibshirani 1993, chapter 16).

    Args:
        rows: number of validation rows.
        best: the metric of the best trial, one item per seed.
        default: the metric of the defaults, one item per seed.
        maximize: whether a higher value of the metric is better.
        samples: number of resamples. Default: 1,000.
        seed: seed of the resampling. Default: 0.

    Returns:
        The difference. Resamples that leave it undefined are not counted. None if it is undefined for all.
    """
    generator = np.random.default_rng(seed)
    # A resample is a count per row instead of a list of rows, so that no prediction is copied. Number 0 is the data
    # itself, with each row once.
    values = []
    for number in range(samples + 1):
        # the same counts for both sides: hard rows are hard for both, so the difference varies less than each metric
        once = np.ones(rows, dtype=np.int64)
        drawn = once if number == 0 else generator.multinomial(rows, np.full(rows, 1 / rows))
        means = [np.mean([metric(drawn) for metric in side]) for side in (best, default)]
        values.append(means[0] - means[1])
    resampled = np.array(values[1:])
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled):
        return None
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    not_better = float(np.mean(resampled <= 0 if maximize else resampled >= 0))
    return Difference(float(values[0]), float(low), float(high), not_better)


def verdict(search: Search, best: Record, default: Record | None) -> Verdict:
    """Compare the best trial with the defaults on the validation rows."""
    if default is None:
        return Verdict("The trial of the defaults failed, so the best trial cannot be compared with it.")
    if best.number == default.number:
        return Verdict("No trial was better than the defaults.")
    found = _difference(search, best, default)
    if isinstance(found, str):
        return Verdict(f"The difference to the defaults was not tested: {found}.")
    if found.is_noise:
        return Verdict("The best trial is within noise of the defaults.", found)
    noun = search.bench.data["validation"].noun
    return Verdict(f"The best trial is better than the defaults beyond the noise of the validation {noun}.", found)


def _difference(search: Search, best: Record, default: Record) -> Difference | str:
    """Return the difference, or the reason why it cannot be tested."""
    sides = [_resampled(search, record) for record in (best, default)]
    reason = next((side for side in sides if isinstance(side, str)), None)
    if reason is not None:
        return reason
    rows = search.bench.data["validation"]
    first, second = (side for side in sides if not isinstance(side, str))
    found = paired_bootstrap(len(rows), first, second, maximize=search.maximize)
    return f"this metric is undefined on resampled {rows.noun}" if found is None else found


def _resampled(search: Search, record: Record) -> list[Resampled] | str:
    """Return the metric of each seed, or the reason why it cannot be resampled."""
    bench, metric = search.bench, search.metric
    found = [bench.task.search.resampled(metric, item, bench.data) for item in record.predictions]
    reason = next((item for item in found if isinstance(item, str)), None)
    if reason is not None:
        return reason
    if not found:
        rows = bench.data["validation"]
        return f"the predictions of {len(rows):,} validation {rows.noun} are too large to be stored"
    return [item for item in found if not isinstance(item, str)]


def weak_note(search: Search, best: Record) -> str | None:
    """Return a sentence if even the best trial is not better than a constant answer, else None."""
    note = search.bench.task.search.weak(best.results.get("metrics", {}), search.bench.data)
    return None if note is None else f"Best trial: {note}"
