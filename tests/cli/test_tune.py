"""`kerora tune` as a user calls it: what it prints and writes, its refusals, Ctrl-C and going on."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kerora.cli.live import LiveTable, time_left
from kerora.config import load_yaml, resolve
from kerora.settings.tune import TuneConfig
from kerora.tuning.study import tune
from tests.cli.conftest import Kerora, start
from tests.training.test_fit import write_rows

SPACE = "lora.rank: [2, 4]\ntraining.learning_rate: {low: 1e-3, high: 5e-2, log: true}\n"


@pytest.fixture
def options(tmp_path: Path, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A quick search of two trials, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", rows=80)
    (tmp_path / "mine.yaml").write_text(SPACE)
    sizes = ("--max-length", 24, "--batch-size", 16, "--epochs", 1, "--precision", "float32", "--trials", 2)
    return ["tune", "--preset", tiny_preset, "--data", "rows.jsonl", "--space", "mine.yaml", *sizes]


def test_a_search_prints_its_trials_and_what_to_do_next(kerora: Kerora, options: list[object]) -> None:
    answer = kerora(*options, "--repeats", 2)
    assert answer.code == 0, answer.err
    lines = answer.err.splitlines()
    assert lines[0] == "Study: studies/tiny_distil_bert-rows-mine"
    assert lines[3].startswith("trial 1/2  complete  macro_f1 0.") and "defaults: rank=8" in lines[3]
    assert "best 0." in lines[4] and "ETA 0.0 s" in lines[4] and "learning_rate=" in lines[4]
    assert "Best: trial " in answer.out and "Defaults: macro_f1 0." in answer.out
    assert "Next: kerora fit --config studies/tiny_distil_bert-rows-mine/best.yaml" in answer.out
    folder = Path("studies/tiny_distil_bert-rows-mine")
    assert {path.name for path in folder.iterdir()} == {"study.db", "experiment_log.csv", "best.yaml", "report.html"}
    resolve(load_yaml(folder / "best.yaml"))
    again = kerora(*options, "--repeats", 2, "--json", "--quiet")
    result = json.loads(again.out)
    assert again.err == "" and [trial["state"] for trial in result["trials"]] == ["complete"] * 2
    assert len(result["best"]["scores"]) == 2 and result["verdict"] and result["refit"] is None


def test_best_yaml_repeats_the_best_trial(kerora: Kerora, options: list[object]) -> None:
    searched = json.loads(kerora(*options, "--json", "--quiet").out)
    best = "studies/tiny_distil_bert-rows-mine/best.yaml"
    fitted = json.loads(kerora("fit", "--config", best, "--json", "--quiet").out)
    assert fitted["metrics"]["after"]["validation"]["macro_f1"] == pytest.approx(searched["best"]["score"], abs=1e-9)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--space", "mien.yaml"], "There is no search space 'mien.yaml'"),
        (["--metric", "macro_f2"], "The task classification has no metric 'macro_f2'. Did you mean 'macro_f1'"),
        (["--trials", "0"], "Setting 'trials' must be 1 or more. Received: 0"),
        (["--sampler", "tpee"], "Invalid value for '--sampler'"),
        (["--storage", "nosuch://host/db"], "The storage nosuch://host/db cannot be opened"),
        (["--validation-split", "0"], "A search needs validation rows"),
        (["--refit"], "--refit needs test rows"),
        (
            ["--targets", "qery", "--trials", "1"],
            "All 1 trials failed. The first error: Target 'qery' matches no layer",
        ),
        (["--rnak", "3"], "No such option"),
    ],
)
def test_refusals(kerora: Kerora, options: list[object], more: list[object], message: str) -> None:
    answer = kerora(*options, "--quiet", *more)
    assert message in answer.error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lora.rnak: [4]", "Unknown setting 'lora.rnak' in the search space. Did you mean 'lora.rank'"),
        ("lora.rank: []", "empty list of choices"),
        ("lora.rank: {low: 8, high: 4}", "empty range"),
    ],
)
def test_bad_spaces(kerora: Kerora, options: list[object], text: str, message: str) -> None:
    Path("mine.yaml").write_text(text)
    assert message in kerora(*options).error
    assert not Path("studies").exists()


def test_another_space_under_the_same_name_is_refused(kerora: Kerora, options: list[object]) -> None:
    assert kerora(*options, "--trials", 1, "--quiet").code == 0
    Path("mine.yaml").write_text("lora.rank: [2, 4, 8]\n")
    assert "space lora.rank was [2, 4], is [2, 4, 8]" in kerora(*options).error


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_says_how_to_go_on(options: list[object], workers: int) -> None:
    process = start(*options, "--trials", 500, "--workers", workers)
    log = Path("studies/tiny_distil_bert-rows-mine/experiment_log.csv")
    deadline = time.monotonic() + 150
    while not (log.is_file() and "complete" in log.read_text()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    text = errors.decode()
    assert process.returncode == 130 and "Traceback" not in text, text
    last = text.splitlines()[-1]
    assert last.startswith("Error: Interrupted after ") and "The same command continues the study" in last
    assert (log.parent / "report.html").is_file() and (log.parent / "best.yaml").is_file()
    assert not list(log.parent.glob("worker-*.log"))


def test_the_table_on_a_terminal(options: list[object], tiny_preset: Path) -> None:
    console = Console(force_terminal=True, width=120, record=True, color_system=None)
    tables: list[Any] = []

    class Noted(LiveTable):
        def update(self, records: Any) -> None:
            super().update(records)
            tables.append((self._table(records), self._foot(records)))

    settings = {"data.source": "rows.jsonl", "model.preset": str(tiny_preset), "training.epochs": 1}
    tune(resolve(settings), TuneConfig(trials=2), space={"lora.rank": [2, 4]}, observer=Noted(console))
    with console.capture() as capture:
        console.print(tables[-1][0])
    text = capture.get()
    assert "trial" in text and "complete" in text and "rank=" in text and " *" in text
    assert tables[-1][1].startswith("2 of 2 trials  best macro_f1 0.") and "ETA 0.0 s" in tables[-1][1]
    assert time_left([], 3, 1) is None
