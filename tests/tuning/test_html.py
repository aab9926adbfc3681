"""The report of a study on made-up trials: complete, escaped, one file; the log and best.yaml beside it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from optuna.trial import TrialState

from kerora.config import load_yaml, resolve, to_dict
from kerora.settings.tune import TuneConfig
from kerora.tuning.html import render_study
from kerora.tuning.packing import pack
from kerora.tuning.records import RESULTS, Record, best_record, default_record, read_records
from kerora.tuning.search import Search
from kerora.tuning.study import conclude, prepare
from tests.tasks.test_classification_page import EVIL, Page, assert_accessible, assert_self_contained

SPACE = {
    "lora.rank": [2, 4, 8],
    "lora.targets": ["query,value", EVIL],
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "training.schedule": ["cosine", "constant"],
    "training.warmup": {"low": 0.0, "high": 0.2, "when": {"training.schedule": "cosine"}},
}


@pytest.fixture
def made(settings: dict[str, Any]) -> Search:
    search = prepare(resolve(settings), TuneConfig(study="made"), SPACE)
    search.folder.path.mkdir(parents=True)
    return search


def add(study: optuna.Study, search: Search, score: float | None, state: TrialState, **attributes: Any) -> None:
    """Add a trial whose predictions are right in a share of `score`."""
    number = len(study.trials)
    trial = study.ask()
    values = search.space.suggest(trial) if number else dict(search.defaults)
    labels = np.asarray(search.bench.data["validation"].targets)
    hits = np.random.default_rng(number).random(len(labels)) < (score or 0)
    predictions = {"predicted": np.where(hits, labels, 1 - labels), "true_probability": np.where(hits, 0.9, 0.1)}
    config = to_dict(resolve(to_dict(search.bench.settled(search.bench.config)), {"lora.rank": values["lora.rank"]}))
    results = {"scores": [score], "metrics": {"macro_f1": score}, "epochs": 2, "kept_epoch": 2, "config": config}
    trial.set_user_attr("settings", values)
    if score is not None:
        trial.report(score, 1)
    if state == TrialState.COMPLETE:
        trial.set_user_attr(RESULTS, results)
        trial.set_user_attr("predictions", [pack(predictions)])
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    study.tell(trial, score if state == TrialState.COMPLETE else None, state=state)


@pytest.fixture
def study(made: Search) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    add(study, made, 0.7, TrialState.COMPLETE, defaults=True)
    for score in (0.6, 0.75, 0.5, 0.72, 0.65, 0.74):
        add(study, made, score, TrialState.COMPLETE)
    add(study, made, 0.2, TrialState.PRUNED)
    add(study, made, None, TrialState.FAIL, error=f"Target '{EVIL}' matches no layer.")
    return study


def test_the_page_holds_everything_and_runs_nothing(made: Search, study: optuna.Study) -> None:
    content = render_study(made, study, read_records(study))
    page = Page(content)
    assert_self_contained(content, page)
    assert_accessible(page)
    assert EVIL not in content and not page.open
    assert len([element for element in page.elements if element[0] == "svg"]) == 8
    for text in ("0.7500", "trial 3", "within noise of the defaults", "matches no layer", "training.learning_rate"):
        assert text in page.text, text
    assert page.text.count("1 trials failed") == 1
    assert "PED-ANOVA" in page.text and "mathdefault" not in content


def test_few_trials_have_no_importances_and_the_defaults_can_win(made: Search) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    add(study, made, 0.7, TrialState.COMPLETE, defaults=True)
    add(study, made, 0.7, TrialState.COMPLETE)
    page = Page(render_study(made, study, read_records(study)))
    assert "PED-ANOVA" not in page.text and "No trial was better than the defaults" in page.text
    assert len([element for element in page.elements if element[0] == "svg"]) == 7


def test_a_clear_gain_is_told_as_one(made: Search) -> None:
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    add(study, made, 0.3, TrialState.COMPLETE, defaults=True)
    add(study, made, 0.99, TrialState.COMPLETE)
    page = Page(render_study(made, study, read_records(study)))
    assert "better than the defaults beyond the noise" in page.text


def test_best_yaml_is_a_config_and_the_log_has_every_trial(made: Search, study: optuna.Study) -> None:
    records = conclude(made, study)
    best = best_record(records, True)
    assert best is not None and best.number == 3 and default_record(records) is records[0]
    assert resolve(load_yaml(made.folder.best)) == resolve(to_dict(best.config), {"run": None})
    assert made.folder.best.read_text().startswith(
        "# The best of the study made: trial 3, validation macro_f1 0.7500.\n"
    )
    assert yaml.safe_load(made.folder.best.read_text())["data"]["source"] == "rows.jsonl"
    with made.folder.log.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == ["complete"] * 7 + ["pruned", "failed"]
    assert rows[8]["error"] == f"Target '{EVIL}' matches no layer." and rows[7]["score"] == "0.2"
    constant = [row for row in rows if row["training.schedule"] == "constant"]
    assert constant and all(row["training.warmup"] == "" for row in constant)


def test_equals_go_to_the_earlier_trial() -> None:
    def record(number: int, score: float) -> Record:
        trial = optuna.create_trial(state=TrialState.COMPLETE, value=score)
        return Record(number, "complete", False, {}, score, {}, 1, None, 1.0, "", "", trial)

    records = [record(1, 0.5), record(2, 0.9), record(3, 0.9), record(4, 0.1)]
    best, least = best_record(records, True), best_record(records, False)
    assert best is not None and best.number == 2 and least is not None and least.number == 4
    assert best_record([], True) is None


def test_the_folder_of_a_study_is_as_documented(made: Search, study: optuna.Study) -> None:
    conclude(made, study)
    assert {path.name for path in Path("studies/made").iterdir()} == {"experiment_log.csv", "best.yaml", "report.html"}
