"""What a study came to: states, scores, the best, predictions as text, and the log."""

import csv
import io
import math
from datetime import datetime, timedelta
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from kerora.evaluation.metrics import SINGLE_METRICS
from kerora.tuning.records import (
    DIED,
    STATES,
    best_record,
    default_record,
    experiment_log,
    read_records,
)
from kerora.tuning.storage import ERROR, PROCESS, RETRY_OF, SURPLUS
from tests.tuning.made_up import record

START = datetime(2024, 5, 6, 7, 8, 9)


SCORES = st.lists(
    st.tuples(st.sampled_from(["complete", "pruned", "failed"]), st.none() | st.floats(-1, 1)), max_size=8
)


def test_of_equal_scores_the_trial_with_the_lower_loss_is_best() -> None:
    records = [
        record(number, 0.1771, "complete", results={"metrics": {"loss": loss}})
        for number, loss in enumerate((1.5, 1.2, 1.3), 1)
    ]
    best = best_record(records, True)
    assert best is not None and best.number == 2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SCORES, st.booleans())
def test_the_best_is_the_earliest_complete_one_that_none_beats(scores: list[Any], maximize: bool) -> None:
    # scores that differ by less than 1e-12 count as equal
    scores = [(state, None if score is None else round(score, 6)) for state, score in scores]
    records = [record(number, score, state) for number, (state, score) in enumerate(scores, 1)]
    best = best_record(records, maximize)
    candidates = [(r.score, r.number) for r in records if r.state == "complete" and r.score is not None]
    if best is None:
        assert not candidates
        return
    assert best.score == (max if maximize else min)(score for score, _ in candidates)
    assert best.number == min(number for score, number in candidates if score == best.score)


def test_the_defaults_count_once_they_are_complete() -> None:
    assert default_record([record(1, 0.5, "failed"), record(2, 0.5)]) is None
    retried = record(3, 0.4, is_default=True)
    assert default_record([record(1, 0.5, "failed"), record(2, 0.9), retried]) is retried


def trial(state: TrialState, number: int, **options: Any) -> optuna.trial.FrozenTrial:
    value = 0.5 if state == TrialState.COMPLETE else None
    made = optuna.create_trial(state=state, value=value, **options)
    made.datetime_start = START + timedelta(seconds=number)
    made.datetime_complete = made.datetime_start + timedelta(seconds=90) if state.is_finished() else None
    return made


def study_of(*trials: optuna.trial.FrozenTrial) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def test_every_state_that_optuna_has_is_named() -> None:
    assert set(STATES) == set(TrialState)


def test_records_of_trials_in_every_state() -> None:
    process = {PROCESS: {"host": "here", "pid": 12, "started": 0.0}}
    complete, pruned, failed, told, waiting = read_records(
        study_of(
            trial(TrialState.COMPLETE, 0, user_attrs={"defaults": True, **process, "results": {"scores": [0.4, 0.6]}}),
            trial(TrialState.PRUNED, 1, intermediate_values={1: 0.9, 3: 0.2, 2: 0.7}),
            trial(TrialState.FAIL, 2),
            trial(TrialState.FAIL, 3, user_attrs={ERROR: "Target 'x' matches no layer."}, intermediate_values={1: 0.3}),
            trial(TrialState.WAITING, 4),
        )
    )
    assert (complete.score, complete.is_default, complete.worker, complete.seconds) == (0.5, True, "here:12", 90.0)
    assert complete.scores == [0.4, 0.6] and complete.ended and complete.predictions == []
    assert (pruned.score, pruned.epoch, pruned.error, pruned.is_default) == (0.2, 3, "", False)  # the newest value
    assert (failed.score, failed.error, failed.worker) == (None, DIED, "")
    assert (told.score, told.error) == (0.3, "Target 'x' matches no layer.")
    assert (waiting.state, waiting.ended, waiting.seconds) == ("waiting", False, None)
    assert [r.number for r in (complete, pruned, failed, told, waiting)] == [1, 2, 3, 4, 5]


def test_a_retried_trial_is_one_record_at_its_first_place() -> None:
    found = read_records(
        study_of(
            trial(TrialState.FAIL, 0),
            trial(TrialState.COMPLETE, 1),
            trial(TrialState.FAIL, 2, system_attrs={RETRY_OF: 0}),
            trial(TrialState.COMPLETE, 3, system_attrs={RETRY_OF: 2}),
            trial(TrialState.COMPLETE, 4, user_attrs={SURPLUS: True}),
        )
    )
    assert [(r.number, r.state, r.trial.number) for r in found] == [(1, "complete", 3), (2, "complete", 1)]


def test_a_running_trial_has_taken_the_time_until_now() -> None:
    study = optuna.create_study()
    study.ask()
    (found,) = read_records(study)
    assert found.state == "running" and found.seconds is not None and 0 <= found.seconds < 30


def test_the_log_has_the_numbers_of_each_trial() -> None:
    scores = [0.5, 0.75, 0.1]
    results = {
        "scores": scores, "metrics": {"accuracy": 0.123456789, "loss": None}, "epochs": 3, "kept_epoch": 2,
        "training_seconds": 12.0,
    }  # fmt: skip
    values = {"lora.rank": 4, "lora.use_dora": True, "lora.targets": 'a,"b"'}
    failed = record(2, None, "failed", error="two\n  lines", started=None, seconds=None, worker="")
    records = [record(1, 0.45, results=results, settings=values), failed]
    paths = ["lora.rank", "lora.use_dora", "lora.targets", "lora.alpha"]
    text = experiment_log(records, paths, SINGLE_METRICS)
    first, second = csv.DictReader(io.StringIO(text))
    assert list(first)[:4] == ["trial", "state", "score", "score_sd"] and list(first)[4:8] == paths
    assert [name for name in first if name.startswith("val_")] == [f"val_{name}" for name in SINGLE_METRICS]
    mean = sum(scores) / 3
    spread = math.sqrt(sum((score - mean) ** 2 for score in scores) / 2)
    assert float(first["score_sd"]) == pytest.approx(spread, rel=1e-5) and first["score"] == "0.45"
    assert [first[path] for path in paths] == ["4", "true", 'a,"b"', ""]
    assert (first["val_accuracy"], first["val_loss"], first["epochs"]) == ("0.123457", "", "3")
    assert (first["started"], first["seconds"]) == ("2024-01-02T03:04:05", "1.5")
    assert (second["error"], second["started"], second["score"], second["score_sd"]) == ("two lines", "", "", "")
    assert text.count("\n") == 3 and "\r" not in text


def test_one_seed_has_no_spread() -> None:
    (row,) = csv.DictReader(io.StringIO(experiment_log([record(1, 0.5, results={"scores": [0.5]})], [], ["loss"])))
    assert row["score_sd"] == ""
