"""The names that a script uses on runs: `kerora.evaluate`, `report`, `predict`, `export`, `merge`, `PromptRunner`."""

import csv
import json
import shutil
from pathlib import Path

import pytest

import kerora
from kerora.errors import RunError
from tests.runs.test_old_runs import OLD


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(OLD, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


def test_a_run_is_evaluated_reported_and_predicts(runs: Path) -> None:
    found = kerora.evaluate("classifier", preset="encoder")
    assert set(found.metrics) == {"validation", "test"} and found.head.names == ("bad", "good")
    summary = kerora.report("classifier", split="validation")
    assert summary.page == Path("classifier/report/report.html")
    assert summary.runs[0].split.name == "validation"
    assert kerora.predict("classifier", Path("rows.csv"), Path("out.csv"), preset="encoder") == 24
    with Path("out.csv").open(encoding="utf-8") as stream:
        assert {row["label"] for row in csv.DictReader(stream)} <= {"bad", "good"}


def test_several_runs_are_compared_and_merged(runs: Path) -> None:
    shutil.copytree("classifier", "other")
    assert kerora.report("classifier", "other", output="both.html").page == Path("both.html")
    assert kerora.merge(["classifier", "other"], "merged", preset="encoder").agreement == 1.0
    with pytest.raises(RunError, match=r"other is given more than once|classifier is given more than once"):
        kerora.report("classifier", "classifier")
    with pytest.raises(RunError, match="language is a language model, but classifier is a text classifier"):
        kerora.report("classifier", "language")


def test_an_export_is_verified(runs: Path) -> None:
    found = kerora.export("language", "kerora", "shared", preset="decoder")
    assert found.tool == "kerora" and found.largest_difference == 0.0
    card = Path("shared/README.md").read_text(encoding="utf-8")
    assert "import kerora\nrunner = kerora.PromptRunner(" in card


def test_a_language_model_continues_a_prompt(runs: Path) -> None:
    runner = kerora.PromptRunner("language", "decoder")
    text = runner.complete("late parcel", kerora.Sampling(max_tokens=4))
    assert text and text == runner.complete("late parcel", kerora.Sampling(max_tokens=4))
    assert len(runner.complete("late parcel")) >= len(text)


def test_a_run_of_an_unknown_task_is_refused_by_name(runs: Path) -> None:
    manifest = Path("classifier/run.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text(encoding="utf-8")), "task": "sing"}))
    with pytest.raises(
        RunError,
        match=r"names the task 'sing'\. This version of Kerora has classification, multi-label, regression, causal-lm",
    ):
        kerora.report("classifier")
