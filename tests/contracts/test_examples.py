"""Each example runs as a user runs it, on a tiny preset."""

import ast
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kerora.runfolder import RunFolder
from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
NAMES = ("custom_data", "fit_from_python", "fit_with_keras", "keras_hub_model", "predict_numbers", "several_labels")
RunExample = Callable[..., str]


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunExample:
    """Run an example's file as a script, with arguments, and return what it prints."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def run_alone(name: str, *arguments: object) -> str:
    """Run an example in a process of its own, without KERAS_BACKEND: importing kerora first must be enough."""
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "films.jsonl"
    good, bad = ("great", "wonderful", "love", "best"), ("awful", "boring", "worst", "terrible")
    lines = [
        {"text": f"the {place} was {word} and the plot was {word}", "label": label}
        for label, words in (("good", good), ("bad", bad))
        for word in words
        for place in ("movie", "story", "ending", "actor", "scene", "film", "team", "season", "store", "service")
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_every_example_is_run_here_and_tells_its_command() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == list(NAMES)
    for name in NAMES:
        docstring = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text(encoding="utf-8"))) or ""
        commands = [line.strip() for line in docstring.splitlines() if line.strip().startswith("python ")]
        assert len(commands) == 1
        assert commands[0].startswith(f"python examples/{name}.py --preset kerora_mini_en")


def test_fit_with_keras(run_example: RunExample, tiny_preset: Path, rows: Path) -> None:
    output = run_example(
        "fit_with_keras", "--preset", tiny_preset, "--data", rows, "--epochs", 8, "--learning-rate", 0.02
    )
    assert output.startswith("trainable ")
    assert "macro avg" in output
    best = float(output.rpartition("macro F1 ")[2])
    assert best > 0.8


def test_custom_data(run_example: RunExample, tiny_preset: Path) -> None:
    output = run_example("custom_data", "--preset", tiny_preset, "--epochs", 2)
    predictions = output.splitlines()[-3:]
    assert all(line.split()[0] in {"heating", "noise", "keys"} for line in predictions)


def test_keras_hub_model(run_example: RunExample, tiny_preset: Path, tmp_path: Path) -> None:
    # the tiny preset, and the documented default in a process of its own
    for run, more in ((run_example, ("--preset", tiny_preset)), (run_alone, ())):
        folder = tmp_path / f"adapter{len(more)}"
        output = run("keras_hub_model", *more, "--epochs", 1, "--adapter", folder)
        assert {path.name for path in folder.iterdir()} == {
            "adapter_model.safetensors", "adapter_config.json", "kerora_adapter.json",
        }  # fmt: skip
        assert output.splitlines()[-1] == "largest difference of the logits after loading: 0.0"


def test_fit_from_python(run_example: RunExample, tiny_preset: Path, rows: Path, tmp_path: Path) -> None:
    output = run_example(
        "fit_from_python", "--preset", tiny_preset, "--data", rows, "--runs-dir", tmp_path, "--epochs", 1
    )
    run = RunFolder.open(tmp_path / "tiny_distil_bert-films-r8-1")
    assert run.read_manifest()["state"] == "finished"
    assert f"run: {run.path}" in output
    assert output.splitlines()[-1].endswith((": good", ": bad"))


def test_predict_numbers(run_example: RunExample, tiny_preset: Path, tmp_path: Path) -> None:
    output = run_example("predict_numbers", "--preset", tiny_preset, "--epochs", 1, "--run", tmp_path / "run")
    lines = output.splitlines()
    assert "validation: RMSE" in output and float(lines[-3].split()[0]) < 10
    assert lines[-1].startswith("Mean ") and RunFolder.open(tmp_path / "run").read_manifest()["task"] == "regression"


def test_several_labels(run_example: RunExample, tiny_preset: Path, tmp_path: Path) -> None:
    output = run_example("several_labels", "--preset", tiny_preset, "--epochs", 1, "--run", tmp_path / "run")
    assert "validation: Macro F1" in output and "damage: from probability" in output
    assert RunFolder.open(tmp_path / "run").read_manifest()["task"] == "multi-label"
