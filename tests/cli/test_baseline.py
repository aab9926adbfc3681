"""The baseline beside a run: its settings, its last line, other rows, and whatever can fail."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kerora.runfolder import RunFolder
from kerora.runs import baseline as runs_baseline
from kerora.tasks.classification import baseline as of_classifiers
from tests.cli.conftest import Kerora, fit_arguments
from tests.training.test_fit import write_rows


def metrics_of(folder: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_each_split_has_the_keys_of_the_trained_model(own: Path) -> None:
    metrics = metrics_of("run")
    assert set(metrics["baseline"]) == set(metrics["after"]) == {"validation", "test"}
    for split, found in metrics["baseline"].items():
        assert set(found) - {"name", "majority", "test"} == set(metrics["after"][split])
        assert set(found["majority"]) - {"name"} == set(metrics["after"][split])
    manifest = RunFolder("run").read_manifest()
    assert manifest["state"] == "finished" and 0 < manifest["baseline_seconds"] < manifest["seconds"]


def test_a_fit_without_a_baseline(kerora: Kerora, own: Path) -> None:
    answer = kerora(*fit_arguments("preset", "rows.jsonl", "./new", "--no-baseline"))
    assert answer.code == 0 and "aseline" not in answer.out + answer.err
    assert set(metrics_of("new")) == {"before", "after"} and "baseline_seconds" not in RunFolder("new").read_manifest()
    assert "Baseline" not in kerora("report", "new").out
    # as in the training
    assert "Baseline" not in kerora("evaluate", "new").out and set(metrics_of("new")) == {"before", "after"}
    assert "Baseline: the model" in kerora("evaluate", "new", "--baseline").out
    assert metrics_of("new")["baseline"] == metrics_of("run")["baseline"]


def test_many_rows_have_a_baseline_only_if_it_is_asked_for(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_baseline, "MOST_ROWS", 40)
    answer = kerora(*fit_arguments("preset", "rows.jsonl", "./new", "--quiet"))
    assert answer.code == 0 and "baseline" not in metrics_of("new")
    assert answer.err.strip() == (
        "Note: No baseline: there are 56 training rows, and the default computes one for up to 40. "
        "--baseline computes it."
    )
    assert kerora(*fit_arguments("preset", "rows.jsonl", "./asked", "--quiet", "--baseline")).code == 0
    assert metrics_of("asked")["baseline"] == metrics_of("run")["baseline"]


@pytest.mark.parametrize("error", [MemoryError(), ValueError("empty\nvocabulary"), RuntimeError("x" * 9)])
def test_a_failure_leaves_a_finished_run(
    error: Exception, kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(of_classifiers, "baseline", fail)
    answer = kerora(*fit_arguments("preset", "rows.jsonl", "./new", "--quiet"))
    assert answer.code == 0 and "No baseline. It failed with: " in answer.err and "Traceback" not in answer.err
    assert RunFolder("new").read_manifest()["state"] == "finished" and set(metrics_of("new")) == {"before", "after"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_baseline_and_leaves_a_finished_run(
    number: int, kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), number)
        raise AssertionError("the signal comes first")

    monkeypatch.setattr(of_classifiers, "baseline", interrupted)
    answer = kerora(*fit_arguments("preset", "rows.jsonl", "./new", "--quiet"))
    assert answer.code == 128 + number
    assert answer.err.splitlines() == [
        "Note: No baseline: it was interrupted. `kerora evaluate new` computes it.",
        "Error: Interrupted after the end of the training. new is finished.",
    ]
    assert RunFolder("new").read_manifest()["state"] == "finished" and set(metrics_of("new")) == {"before", "after"}
    monkeypatch.undo()
    monkeypatch.chdir(own)
    assert kerora("evaluate", "new").code == 0 and metrics_of("new")["baseline"] == metrics_of("run")["baseline"]


def test_other_rows_are_compared_with_the_baseline_of_the_training_rows(kerora: Kerora, own: Path) -> None:
    write_rows(own / "new.jsonl", rows=30, seed=4)
    before = metrics_of("run")
    answer = kerora("evaluate", "run", "--test", "new.jsonl", "--output", "there")
    assert "Baseline: the model" in answer.out and answer.err == ""
    assert set(metrics_of("there")) == {"after", "baseline"} and set(metrics_of("there")["baseline"]) == {"test"}
    found = json.loads(kerora("evaluate", "run", "--test", "new.jsonl", "--output", "again", "--json").out)
    assert found["baseline"] == metrics_of("there")["baseline"]
    assert metrics_of("run") == before
    plain = kerora("evaluate", "run", "--test", "new.jsonl", "--output", "plain", "--no-baseline")
    assert "Baseline" not in plain.out and set(metrics_of("plain")) == {"after"}


def test_training_rows_that_changed_or_are_gone_give_no_baseline(kerora: Kerora, own: Path) -> None:
    write_rows(own / "new.jsonl", rows=30, seed=4)
    write_rows(own / "rows.jsonl", rows=80, seed=9)
    answer = kerora("evaluate", "run", "--test", "new.jsonl", "--output", "changed")
    assert (
        answer.code == 0 and "changed since run was trained" in answer.err and set(metrics_of("changed")) == {"after"}
    )
    (own / "rows.jsonl").unlink()
    answer = kerora("evaluate", "run", "--test", "new.jsonl", "--output", "gone")
    assert answer.code == 0 and answer.err.count("\n") == 1 and "Baseline" not in answer.out
    assert answer.err.startswith("Note: No baseline: ") and set(metrics_of("gone")) == {"after"}


def test_a_run_of_an_earlier_version_gets_its_baseline_from_evaluate(kerora: Kerora, own: Path) -> None:
    whole = metrics_of("run")
    Path("run/metrics.json").write_text(json.dumps({key: whole[key] for key in ("before", "after")}), encoding="utf-8")
    assert "Baseline" not in kerora("report", "run").out
    assert "Baseline: the model" in kerora("evaluate", "run").out and metrics_of("run") == whole


def test_reports_say_it(kerora: Kerora, own: Path) -> None:
    assert "Baseline: the model" in kerora("report", "run").out
    page = Path("run/report/report.html").read_text(encoding="utf-8")
    assert 'id="baseline"' in page and "TF-IDF of words and word pairs with logistic regression" in page
    answer = json.loads(kerora("report", "run", "--json").out)
    (one,) = answer["runs"]
    assert one["baseline"] == metrics_of("run")["baseline"]["test"] and one["verdict"].startswith("Baseline: the model")


def test_a_damaged_baseline_is_refused_in_one_line(kerora: Kerora, own: Path) -> None:
    whole = metrics_of("run")
    for damage in (3, {"test": 3}):
        Path("run/metrics.json").write_text(json.dumps({**whole, "baseline": damage}), encoding="utf-8")
        assert "'baseline' must map splits to metrics" in kerora("report", "run").error
    Path("run/metrics.json").write_text(json.dumps({**whole, "baseline": {"test": {"test": 3}}}), encoding="utf-8")
    assert kerora("report", "run").code == 0
