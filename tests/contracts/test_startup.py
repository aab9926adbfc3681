"""What the command line loads: nothing for help, never TensorFlow for local files."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HELP_SECONDS = 0.4
TRIES = 5
FRAMEWORKS = ("keras", "torch", "tensorflow", "keras_hub", "numpy", "sklearn", "optuna")
REPORT = """
import json, sys
from kerora.cli.main import run
codes = [run(arguments) for arguments in json.loads(sys.argv[1])]
loaded = [name for name in json.loads(sys.argv[2]) if sys.modules.get(name)]
print(json.dumps({"codes": codes, "loaded": loaded}))
"""


def loaded_by(*commands: list[object], modules: tuple[str, ...] = FRAMEWORKS) -> list[str]:
    """Run commands in a process of their own, and return which of `modules` they loaded."""
    calls = json.dumps([[str(word) for word in command] for command in commands])
    command = [sys.executable, "-c", REPORT, calls, json.dumps(modules)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["codes"] == [0] * len(commands), done.stderr
    names: list[str] = result["loaded"]
    return names


def help_seconds() -> float:
    """Return the processor time of one call: on an idle machine the time that a person waits."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "kerora", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["fit", "--help"], ["predict", "--help"], ["tune", "--help"]], ids=" ".join
)
def test_help_loads_no_framework(command: list[object]) -> None:
    assert loaded_by(command) == []


def test_help_is_quick() -> None:
    assert min(help_seconds() for _ in range(TRIES)) < HELP_SECONDS


def test_fit_and_predict_on_local_files_never_load_tensorflow(tiny_preset: Path, tmp_path: Path) -> None:
    rows = [{"text": f"{word} order {number}", "label": word} for word in ("late", "broken") for number in range(12)]
    data, run, output = tmp_path / "rows.jsonl", tmp_path / "run", tmp_path / "out.csv"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fit = ["fit", "--data", data, "--preset", tiny_preset, "--run", run, "--max-steps", 2, "--batch-size", 8, "--quiet"]
    predict = ["predict", run, data, "-o", output]
    assert loaded_by(fit, predict, modules=("tensorflow", "keras", "torch")) == ["keras", "torch"]
    assert len(output.read_text(encoding="utf-8").splitlines()) == len(rows) + 1


@pytest.mark.slow
def test_predict_loads_nothing_that_it_does_not_need(tiny_preset: Path, tmp_path: Path) -> None:
    rows = [{"text": f"{word} order {number}", "label": word} for word in ("late", "broken") for number in range(12)]
    data, run = tmp_path / "rows.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fit = ["fit", "--data", data, "--preset", tiny_preset, "--run", run, "--max-steps", 1, "--batch-size", 8, "--quiet"]
    assert loaded_by(fit, modules=("keras",)) == ["keras"]
    predict = ["predict", run, data, "-o", tmp_path / "out.csv"]
    unused = ("tensorflow", "sklearn", "scipy", "matplotlib", "pyarrow", "optuna", "pandas", "jinja2")
    assert loaded_by(predict, modules=unused) == []
