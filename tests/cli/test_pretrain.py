"""`kerora pretrain` as a person calls it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.config import PretrainConfig, load_yaml, resolve
from tests.cli.conftest import Kerora, contents
from tests.pretraining.test_pretrain import write_text

keras_hub = import_keras_hub()
SMALL = ["--layers", 1, "--width", 32, "--heads", 2, "--intermediate", 64, "--vocabulary-size", 110]
SMALL += ["--max-length", 24, "--batch-size", 16, "--precision", "float32", "--holdout", 0.1]


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "reports.jsonl")
    return "reports.jsonl"


def test_pretrain_then_fit(kerora: Kerora, text: str, tmp_path: Path) -> None:
    answer = kerora("pretrain", "--text", text, "--output", "preset", *SMALL, "--epochs", 1, "--quiet")
    assert answer.code == 0 and answer.err == ""
    assert answer.out.startswith("Held out: loss ") and "Next: kerora fit --preset preset" in answer.out
    rows = [{"text": f"the weather in the {place}", "label": place} for place in ("north", "south") for _ in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fit = kerora("fit", "--preset", "preset", "--data", "rows.jsonl", "--max-steps", 2, "--quiet")
    assert fit.code == 0, fit.err
    refusal = kerora("pretrain", "--text", text, "--output", "preset", *SMALL).error
    assert "preset exists" in refusal


def test_a_language_model_is_not_sent_to_a_classifier(kerora: Kerora, text: str, tmp_path: Path) -> None:
    more = ("--vocabulary-size", 300, "--epochs", 1, "--quiet", "--objective", "clm")
    answer = kerora("pretrain", "--text", text, "--output", "gpt", *SMALL, *more)
    assert answer.code == 0, answer.err
    line = answer.out.splitlines()[-1].replace("FILE", text)
    assert line == f"Next: kerora fit --preset gpt --task causal-lm --data {text}"
    fit = kerora(*line.split()[2:], "--max-steps", 1, "--max-length", 24, "--quiet")
    assert fit.code == 0, fit.err
    with without_tensorflow():
        task = keras_hub.models.CausalLM.from_preset(str(tmp_path / "gpt"))
    assert task.preprocessor.generate_preprocess(["rain"])["token_ids"].shape == (1, 24)


def test_files_may_follow_each_other_and_json_is_printed(kerora: Kerora, text: str, tmp_path: Path) -> None:
    write_text(tmp_path / "more.jsonl", documents=30, seed=1)
    options = ["--output", "out", *SMALL, "--max-steps", 2, "--json", "--quiet"]
    answer = kerora("pretrain", "--text", text, "more.jsonl", *options)
    assert answer.code == 0, answer.err
    summary = json.loads(answer.out)
    assert summary["preset"] == "out" and set(summary["held_out"]) == {"loss", "accuracy"}
    names = [item["file"] for item in json.loads((tmp_path / "out" / "pretrain.json").read_text())["data"]["files"]]
    assert names == ["reports.jsonl", "more.jsonl"]


@pytest.mark.parametrize("names", [["a.jsonl"], ['wet, "cold".jsonl'], ["a.jsonl", "b, c.jsonl"]])
def test_files_as_arguments_stay_whole(kerora: Kerora, tmp_path: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        write_text(tmp_path / name, documents=30, seed=seed)
    paths = [str(tmp_path / name) for name in names]
    answer = kerora("pretrain", *paths, "--output", tmp_path / "out", *SMALL, "--max-steps", 1, "--quiet")
    assert answer.code == 0, answer.err
    manifest = json.loads((tmp_path / "out" / "pretrain.json").read_text())
    assert [item["file"] for item in manifest["data"]["files"]] == names


def test_a_config_file_and_options(kerora: Kerora, text: str, tmp_path: Path) -> None:
    assert kerora("init", "--pretrain", "own.yaml").code == 0
    assert resolve(load_yaml(tmp_path / "own.yaml", PretrainConfig), root=PretrainConfig) == PretrainConfig()
    (tmp_path / "own.yaml").write_text("output: made\ndata: {text: [reports.jsonl]}\ntraining: {max_steps: 2}\n")
    assert kerora("pretrain", "--config", "own.yaml", *SMALL, "--quiet").code == 0
    assert json.loads((tmp_path / "made" / "pretrain.json").read_text())["settings"]["training"]["max_steps"] == 2
    (tmp_path / "own.yaml").write_text("lora: {rank: 3}\n")
    assert "Unknown setting 'lora'" in kerora("pretrain", "--config", "own.yaml").error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "holds no text"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8"),
        ("short.txt", b"one line\n", "1 document of about"),
    ],
)
def test_bad_text_is_one_line_and_leaves_nothing(
    kerora: Kerora, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    assert message in kerora("pretrain", "--text", tmp_path / name, "--output", tmp_path / "out").error
    assert contents(tmp_path) == before


def test_resume_takes_no_other_options(kerora: Kerora, tmp_path: Path) -> None:
    assert "Leave the other options out" in kerora("pretrain", "--resume", tmp_path, "--epochs", 3).error
    assert "no pre-training folder" in kerora("pretrain", "--resume", tmp_path / "nowhere").error


def test_ctrl_c_saves_and_exits_130(kerora: Kerora, text: str, tmp_path: Path) -> None:
    options = [*SMALL, "--epochs", 300, "--save-steps", 5, "--quiet"]
    command = [sys.executable, "-m", "kerora", "pretrain", "--text", text, "--output", "out", *map(str, options)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while not list((tmp_path / "out" / "checkpoints").glob("step-*/state.json")) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.count("\n") == 1, errors
    assert "The state is saved. Continue with: kerora pretrain --resume out" in errors
    assert json.loads((tmp_path / "out" / "pretrain.json").read_text())["state"] == "stopped"
