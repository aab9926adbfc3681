"""Whole searches on a tiny preset: first trial, resume, refusals, samplers, pruners, repeats, storages."""

import csv
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from kerora.config import resolve
from kerora.errors import ConfigError, Interrupted, RunError, TrainingError
from kerora.settings.tune import TuneConfig
from kerora.training.interrupt import InterruptFlag
from kerora.tuning.records import Record, read_records
from kerora.tuning.search import Observer
from kerora.tuning.storage import open_storage
from kerora.tuning.study import TuneResult, tune
from tests.training.test_fit import write_rows
from tests.tuning.conftest import SPACE, short_fit

pytestmark = pytest.mark.usefixtures("unrendered_figures")
Settings = dict[str, Any]


def search(settings: Settings, space: Any = SPACE, observer: Observer | None = None, **changes: Any) -> TuneResult:
    options = {"study": "one", "trials": 4, "pruner": "none", **changes}
    return tune(resolve(settings), TuneConfig(**options), space=space, observer=observer)


def log_rows(folder: Path = Path("studies/one")) -> list[dict[str, str]]:
    with (folder / "experiment_log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def proposals(result: TuneResult) -> list[Any]:
    return [dict(record.settings) for record in result.records]


class StopAfter(Observer):
    """Presses Ctrl-C once so many trials have ended and the next one has begun an epoch."""

    def __init__(self, ended: int) -> None:
        self.ended = ended

    def update(self, records: Sequence[Record]) -> None:
        running = [record for record in records if record.state == "running" and record.epoch]
        if sum(record.ended for record in records) >= self.ended and running:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)


def test_the_first_trial_is_the_defaults_and_the_log_has_a_row_a_trial(settings: Settings) -> None:
    result = search(settings)
    first = result.records[0]
    assert first.is_default and first.settings == {
        "lora.rank": 8,
        "training.learning_rate": 0.01,
        "lora.dropout": 0.05,
    }
    assert first.trial.params == first.settings
    rows = log_rows()
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["state"] for row in rows} == {"complete"}
    assert float(rows[0]["score"]) == pytest.approx(float(rows[0]["val_macro_f1"]))
    assert rows[0]["lora.rank"] == "8" and float(rows[0]["training_seconds"]) > 0 and rows[0]["epochs"] == "2"
    assert result.best.score == max(record.score or 0 for record in result.records)
    assert all(1e-3 <= record.settings["training.learning_rate"] <= 5e-2 for record in result.records)


def test_defaults_outside_of_the_space_are_tried_as_they_are(settings: Settings) -> None:
    result = search(settings, {"lora.rank": [2, 4], "training.epochs": [1]}, trials=2)
    first = result.records[0]
    assert first.settings == {"lora.rank": 8, "training.epochs": 2} and first.trial.params == {}
    assert first.config.lora.rank == 8 and result.records[1].config.training.epochs == 1


@pytest.mark.slow
def test_a_search_repeats_itself_and_goes_on_as_if_it_had_not_been_stopped(settings: Settings) -> None:
    whole = search(settings, trials=7, study="whole")
    with pytest.raises(Interrupted, match=r"Interrupted after 3 of 7 trials. The same command continues") as stop:
        search(settings, trials=7, observer=StopAfter(3))
    assert stop.value.exit_code == 130
    assert [row["state"] for row in log_rows()] == ["complete"] * 3 + ["waiting"]
    parts = search(settings, trials=7)
    assert proposals(parts)[:4] == proposals(whole)[:4]
    assert [record.score for record in parts.records][:4] == [record.score for record in whole.records][:4]
    assert len(parts.records) == 7 and all(record.state == "complete" for record in parts.records)
    grown = search(settings, trials=9, study="whole")
    assert proposals(grown)[:7] == proposals(whole) and len(grown.records) == 9
    again = search(settings, trials=9, study="whole")
    assert proposals(again) == proposals(grown)


def test_trials_beyond_the_number_asked_for_do_not_count(settings: Settings) -> None:
    search(settings, trials=2)
    study = optuna.load_study(study_name="one", storage=open_storage(None, Path("studies/one")))
    from kerora.tuning.objective import Objective, TrialFailed
    from kerora.tuning.space import load_space
    from kerora.tuning.workbench import Workbench

    bench = Workbench(resolve(settings))
    objective = Objective(bench, load_space(SPACE), TuneConfig(trials=2), {}, lambda: None, InterruptFlag(), Path())
    study.optimize(objective, n_trials=1, catch=(TrialFailed,))
    assert len(study.trials) == 3 and len(read_records(study)) == 2
    assert len(search(settings, trials=4).records) == 4


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> Path:
    """The folder of studies after one trial."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("begun"))
        search(short_fit(tiny_preset), trials=1)
        return Path("studies").resolve()


@pytest.mark.parametrize(
    ("change", "space", "options", "message"),
    [
        ({}, {"lora.rank": [2, 4]}, {}, r"space lora.rank was \[2, 4, 8\], is \[2, 4\]; .*lora.dropout .* not there"),
        ({"data.validation_split": 0.5}, SPACE, {}, r"data train was [0-9a-f]{16}, is"),
        ({"lora.alpha": 4.0}, SPACE, {}, r"settings lora.alpha was 16.0, is 4.0"),
        ({"training.learning_rate": 0.02}, SPACE, {}, r"defaults training.learning_rate was 0.01, is 0.02"),
        ({}, SPACE, {"metric": "accuracy"}, r"metric was macro_f1, is accuracy"),
        ({}, SPACE, {"repeats": 2}, r"repeats was 1, is 2"),
    ],
)
def test_a_study_of_something_else_is_refused_and_the_difference_shown(
    settings: Settings, begun: Path, change: Settings, space: Any, options: Settings, message: str
) -> None:
    shutil.copytree(begun, "studies")
    before = (Path("studies/one/study.db").read_bytes(), Path("studies/one/experiment_log.csv").read_bytes())
    with pytest.raises(RunError, match=rf"The study 'one' was started with other settings: .*{message}") as caught:
        search({**settings, **change}, space, trials=1, **options)
    assert "\n" not in str(caught.value)
    assert before[1] == Path("studies/one/experiment_log.csv").read_bytes()


def test_a_foreign_study_is_left_alone(settings: Settings) -> None:
    Path("studies/one").mkdir(parents=True)
    study = optuna.create_study(storage="sqlite:///studies/one/study.db", study_name="one")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(RunError, match="a study 'one' that Kerora did not make"):
        search(settings)


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_grid_takes_every_point_once_with_the_defaults_first(settings: Settings, pruner: str) -> None:
    space = {"lora.rank": [2, 4, 8], "training.schedule": ["cosine", "constant"]}
    result = search(settings, space, trials=100, sampler="grid", pruner=pruner)
    found = [tuple(values.values()) for values in proposals(result)]
    assert found[0] == (8, "cosine") and len(found) == len(set(found)) == 6
    with pytest.raises(ConfigError, match="step or a list of values for 'training.learning_rate'"):
        search(settings, study="two", sampler="grid")


def test_a_sampler_that_cannot_search_the_space_writes_nothing(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="needs at least two settings with low and high"):
        search(settings, {"lora.rank": [2, 4]}, sampler="cmaes")
    assert not Path("studies").exists()


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_hopeless_trials_are_pruned_after_an_epoch_and_the_defaults_never(settings: Settings, pruner: str) -> None:
    space = {"training.learning_rate": [0.01, 1e-7], "lora.dropout": {"low": 0.0, "high": 0.2}}
    long = {**settings, "training.epochs": 3, "training.early_stopping": False, "training.learning_rate": 1e-7}
    result = search(long, space, trials=12, sampler="random", pruner=pruner)
    pruned = [record for record in result.records if record.state == "pruned"]
    assert pruned and all(1 <= record.epoch < 3 for record in pruned)
    assert all(record.results["epochs"] == record.epoch for record in pruned)
    assert result.records[0].state == "complete" and result.best.state == "complete"
    rows = log_rows()
    assert [row["state"] for row in rows].count("pruned") == len(pruned)
    dropouts = [record.settings["lora.dropout"] for record in result.records]
    assert len(set(dropouts)) == len(dropouts)


@pytest.mark.slow
def test_repeats_take_other_seeds_on_the_same_rows_and_the_mean_counts(settings: Settings) -> None:
    one = search(settings, trials=2)
    three = search(settings, trials=2, repeats=3, study="three")
    for single, repeated in zip(one.records, three.records, strict=True):
        assert len(repeated.scores) == 3 and repeated.scores[0] == single.score
        assert repeated.score == pytest.approx(np.mean(repeated.scores))
        assert len(repeated.predictions) == 3 and repeated.config.training.seed == 42
    row = log_rows(Path("studies/three"))[1]
    assert float(row["score_sd"]) == pytest.approx(np.std(three.records[1].scores, ddof=1), rel=1e-4)


def test_a_metric_is_made_large_or_small_as_it_wants(settings: Settings) -> None:
    result = search(settings, metric="loss", trials=3)
    assert result.best.score == min(record.score or 9 for record in result.records)
    with pytest.raises(ConfigError, match=r"The task classification has no metric 'macro_f2'. Did you mean 'macro_f1'"):
        search(settings, metric="macro_f2")


def test_failed_trials_do_not_stop_a_search_but_all_of_them_are_an_error(settings: Settings) -> None:
    result = search(settings, {"lora.rank": [8, 64]}, trials=3, sampler="grid")
    assert [record.state for record in result.records] == ["complete", "failed"]
    assert "Rank 64 exceeds" in result.records[1].error and "Rank 64" in log_rows()[1]["error"]
    with pytest.raises(TrainingError, match=r"All 2 trials failed. The first error: Target 'qery' matches no") as error:
        search({**settings, "lora.targets": "qery"}, {"lora.rank": [2, 4]}, trials=2, study="two")
    assert str(error.value).count("qery") == 1


def test_a_timeout_begins_no_more_trials(settings: Settings) -> None:
    started = time.monotonic()
    result = search(settings, trials=10_000, timeout=4)
    assert 1 <= len(result.records) < 100 and time.monotonic() - started < 60
    with pytest.raises(TrainingError, match="No trial was complete before the timeout"):
        search(settings, study="two", timeout=1e-6)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("sqlite:///nowhere/at/all.db", "unable to open database file"),
        ("postgresql+psycopg2://me:secret@127.0.0.1:1/db", r"\*\*\*@127.0.0.1"),
        ("nosuch://host/db", "nosuch"),
        ("://", "cannot be opened"),
        ("rows.jsonl/study.journal", "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_reached(settings: Settings, storage: str, message: str) -> None:
    with pytest.raises(RunError, match=rf"The storage .*cannot be opened.*Check --storage|{message}") as caught:
        search(settings, storage=storage)
    text = str(caught.value)
    assert "secret" not in text and "\n" not in text


def test_a_database_that_is_damaged_is_one_line(settings: Settings) -> None:
    Path("studies/one").mkdir(parents=True)
    Path("studies/one/study.db").write_bytes(b"this is no database, " * 200)
    with pytest.raises(
        RunError, match="study.db is neither an SQLite database nor a journal of Optuna. Choose another --study"
    ):
        search(settings)


@pytest.mark.parametrize("name", ["a b", "what?", "..", "x/.."])
def test_names_that_are_none(settings: Settings, name: str) -> None:
    with pytest.raises(ConfigError, match="A study's name may hold letters"):
        search(settings, study=name)


def test_the_studies_folder_that_is_a_file(settings: Settings) -> None:
    Path("studies").write_text("")
    with pytest.raises(RunError, match="Cannot create the study folder"):
        search(settings)


def test_the_test_rows_are_never_read(settings: Settings) -> None:
    """Python itself notes every file that is opened: the test file, full of nonsense, is not among them."""
    write_rows(Path("more.jsonl"), rows=40, seed=5)
    Path("sets").mkdir()
    Path("more.jsonl").rename("sets/test.jsonl")
    Path("rows.jsonl").rename("sets/train.jsonl")
    Path("sets/test.jsonl").write_text("what is not JSON cannot be read")
    opened: set[str] = set()
    watching = [True]

    def note(event: str, arguments: Any) -> None:
        if watching[0] and event == "open":
            opened.add(str(arguments[0]))

    sys.addaudithook(note)
    given = {**settings, "data.source": "tickets", "data.train": "sets/train.jsonl", "data.test": "sets/test.jsonl"}
    try:
        search(given, trials=2)
        search({**settings, "data.source": "sets"}, trials=2, study="folder")
    finally:
        watching[0] = False
    assert any(name.endswith("train.jsonl") for name in opened)
    assert not [name for name in opened if "test.jsonl" in name]


def test_the_storage_keeps_no_texts(settings: Settings) -> None:
    search(settings, trials=2)
    with sqlite3.connect("studies/one/study.db") as database:
        content = "\n".join(database.iterdump())
    assert "wonderful" not in content
