"""The paired bootstrap against what is known of paired proportions, and the verdicts."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from kerora.tuning.noise import paired_bootstrap, verdict
from kerora.tuning.packing import pack
from kerora.tuning.records import PREDICTIONS
from tests.tuning.made_up import record

ROWS = 400


def share(right: np.ndarray) -> Any:
    return lambda counts: float(counts @ right / counts.sum())


def right(part: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(ROWS) < part


def test_the_interval_is_that_of_paired_proportions() -> None:
    best, default = right(0.75, 1), right(0.7, 2)
    found = paired_bootstrap(ROWS, [share(best)], [share(default)], samples=4000)
    gains = best.astype(float) - default
    half = 1.96 * gains.std() / np.sqrt(ROWS)
    assert found is not None and found.value == pytest.approx(gains.mean())
    assert found.low == pytest.approx(gains.mean() - half, abs=0.006)
    assert found.high == pytest.approx(gains.mean() + half, abs=0.006)


def test_the_same_predictions_are_noise() -> None:
    same = [share(right(0.7, 1))]
    found = paired_bootstrap(ROWS, same, same, samples=50)
    assert found is not None and found.is_noise and found.not_better == 1.0 and found.low == found.high == 0.0


def test_resamples_without_a_value_do_not_count() -> None:
    def sometimes(counts: np.ndarray) -> float:
        return math.nan if counts[0] == 0 else 1.0

    found = paired_bootstrap(ROWS, [sometimes], [lambda counts: 0.5], samples=50)
    assert found is not None and (found.value, found.low, found.high, found.not_better) == (0.5, 0.5, 0.5, 0.0)
    assert paired_bootstrap(ROWS, [lambda counts: math.nan], [sometimes], samples=5) is None


class Sized:
    noun = "texts"

    def __len__(self) -> int:
        return 3


def judged(resampled: Any, stored: bool = True) -> str:
    """What is said of a best trial whose metric resamples like this."""
    face = SimpleNamespace(resampled=lambda metric, item, data: resampled)
    bench = SimpleNamespace(task=SimpleNamespace(search=face), data={"validation": Sized()})
    search: Any = SimpleNamespace(bench=bench, metric="loss", maximize=False)
    attributes = {PREDICTIONS: [pack({"a": np.zeros(3)})]} if stored else {}
    trial = optuna.create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs=attributes)
    return verdict(search, record(2, 0.4, trial=trial), record(1, 0.5, trial=trial)).sentence


def test_what_was_not_tested_has_a_reason() -> None:
    start = "The difference to the defaults was not tested: "
    assert judged("the moon is full") == f"{start}the moon is full."
    assert judged(share(np.ones(3)), stored=False) == (
        f"{start}the predictions of 3 validation texts are too large to be stored."
    )
    assert judged(lambda counts: math.nan) == f"{start}this metric is undefined on resampled texts."
    assert judged(share(np.ones(3))) == "The best trial is within noise of the defaults."


def test_without_defaults_or_another_trial_there_is_nothing_to_compare() -> None:
    nothing: Any = None
    assert "The trial of the defaults failed" in verdict(nothing, record(2, 0.4), None).sentence
    assert verdict(nothing, record(1, 0.4), record(1, 0.4)).sentence == "No trial was better than the defaults."
