"""`kerora fit` as a person types it: results, refusals that change nothing, interrupts, full disks."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kerora.runfolder import RunFolder
from kerora.runs.open import load
from tests.cli.conftest import Kerora, contents, fit_arguments, start
from tests.conftest import ROOT
from tests.limits import files_up_to
from tests.training.test_fit import write_rows


def test_result_table_and_next_step(kerora: Kerora, own: Path) -> None:
    answer = kerora(*fit_arguments("preset", "rows.jsonl", "./[bold]new"))
    assert answer.code == 0
    assert "before" in answer.out and "Macro F1" in answer.out and "trainable 3,170 (LoRA 2,048" in answer.out
    *_, run, step, last = answer.out.splitlines()
    assert (run, step) == ("Run: [bold]new", "Next: kerora report [bold]new") and last.startswith("Baseline: the model")
    assert "epoch 1/1  loss" in answer.err
    manifest = RunFolder("[bold]new").read_manifest()
    assert manifest["working_directory"] == str(own)


def test_json_is_all_that_standard_output_holds(kerora: Kerora, own: Path) -> None:
    arguments = fit_arguments("preset", "rows.jsonl", "./new", "--json", "--quiet")
    answer = kerora(*arguments)
    result = json.loads(answer.out)
    assert set(result) == {"run", "metrics", "training_seconds", "parameters"} and answer.err == ""
    assert result["metrics"] == json.loads((own / "run" / "metrics.json").read_text())


def test_a_run_without_rows_to_evaluate(kerora: Kerora, own: Path) -> None:
    splits = ("--set", "data.validation_split=0", "--set", "data.test_split=0")
    answer = kerora(*fit_arguments("preset", "rows.jsonl", "./new", *splits))
    assert answer.code == 0 and "Macro F1" not in answer.out
    assert answer.out.splitlines()[-2:] == ["Run: new", "Next: kerora predict new FILE"]


def test_a_fit_does_not_load_torch_s_compiler(own: Path) -> None:
    """Which takes as long to import as torch, and which Keras loads for a symbolic run of the model."""
    arguments = [str(item) for item in fit_arguments("preset", "rows.jsonl", "./new", "--quiet")]
    code = (
        "import sys; from kerora.cli import main; "
        f"print(main.run({arguments!r}), [name for name in ('torch._dynamo', 'sympy', 'PIL') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=own, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


TABLE = "text,label\n" + "".join(f"good text {number},{'ab'[number % 2]}\n" for number in range(40))
FILES: dict[str, str | bytes] = {
    "good.csv": TABLE,
    "empty.csv": "",
    "header.csv": "text,label\n",
    "one.csv": "text,label\na,x\nb,x\n",
    "few.csv": "text,label\na,x\nb,y\n",
    "other.csv": "text,label\na,a\nb,c\n",
    "blank.csv": TABLE + ",a\n  ,b\n",
    "number.jsonl": '{"text": "x", "label": "b"}\n{"text": 3, "label": "a"}\n',
    "broken.jsonl": '{"text": "x", "label": "b"}\n{"text": \n',
    "ragged.csv": "text,label\na,b\na,b,c\n",
    "latin.csv": b"text,label\ncaf\xe9,b\n",
    "utf16.csv": TABLE.encode("utf-16"),
    "key.yaml": "lora:\n  rnk: 3\n",
    "value.yaml": "lora:\n  rank: 0\n",
    "broken.yaml": "lora: [\n",
}
REFUSALS: dict[str, tuple[str, str]] = {
    "missing file": ("--data nofile.csv", "There is no file nofile.csv"),
    "near file": ("--data god.csv", "good.csv"),
    "empty file": ("--data empty.csv", "empty.csv is empty. Give a file with rows"),
    "header only": ("--data header.csv", "header.csv"),
    "missing column": ("--data good.csv --text txt", "'txt'. Its columns: text, label. Did you mean 'text'"),
    "label of validation only": ("--train good.csv --validation other.csv", "other.csv, row 2 (line 3): label 'c'"),
    "one class": ("--data one.csv", "one.csv: all rows have the label 'x'"),
    "few rows": ("--data few.csv --validation-split 0.5", "few.csv: 2 rows are too few for 2 classes"),
    "small subset": ("--data good.csv --subset 1", "'subset' is 1, fewer rows than the 2 classes"),
    "empty text": ("--data blank.csv", "row 41 (line 42) has an empty text in 'text'; row 42"),
    "number for text": ("--data number.jsonl", "row 2 (line 2) has non-string text in 'text': 3 (int)"),
    "broken json": ("--data broken.jsonl", "broken.jsonl: 1 row cannot be used: row 2 (line 2) is not valid JSON"),
    "ragged": ("--data ragged.csv", "row 2 (line 3) has the wrong number of fields: 3, not 2 (text, label)"),
    "latin": ("--data latin.csv", "byte offset 14: byte 0xE9 is not UTF-8"),
    "utf-16": ("--data utf16.csv", "Read it with --encoding utf-16"),
    "data set": ("--data imdb_reviewz", "Did you mean 'imdb_reviews'"),
    "preset": ("--data good.csv --preset distil_bert_base_en_uncasd", "Did you mean 'distil_bert_base_en_uncased'"),
    "preset that is a run": ("--data good.csv --preset run", "run is a run folder, not a pre-trained model"),
    "rank 0": ("--rank 0", "'rank' must be 1 or more. Received: 0"),
    "rank -1": ("--rank -1", "'rank' must be 1 or more. Received: -1"),
    "rank 33": ("--data good.csv --rank 33", "Rank 33 exceeds the smaller side of layer 'transformer_layer_0/"),
    "target": ("--data good.csv --targets qery", "Target 'qery' matches no layer. Did you mean 'query'"),
    "no target": ("--data good.csv --targets ,", "No targets given"),
    "monitor": ("--data good.csv --monitor val_f1", "Unknown --monitor 'val_f1'"),
    "key": ("--config key.yaml", "key.yaml: Unknown setting 'lora.rnk'. Did you mean 'lora.rank'"),
    "value": ("--config value.yaml", "value.yaml: Setting 'rank' must be 1 or more"),
    "yaml": ("--config broken.yaml", "broken.yaml is not valid YAML"),
    "config": ("--config nofile.yaml", "nofile.yaml: No such file or directory. Check --config"),
    "assignment": ("--set lora.rnk=3", "Did you mean 'lora.rank'"),
    "infinite": ("--warmup inf", "'warmup' must be a finite number. Received: inf"),
    "existing run": ("--data good.csv --run ./run", "exists. Choose another --run, continue it with --resume, or add"),
    "below a file": ("--data good.csv --runs-dir good.csv/x", "Cannot create the run folder good.csv/x: Not a dir"),
    "resume nothing": ("--resume nowhere", "There is no run folder at nowhere"),
    "resume a folder": ("--resume preset", "preset is not a run folder: it holds no run.json"),
    "resume the finished": ("--resume run", "run is finished. Start a new run"),
    "resume and settings": ("--resume run --rank 3", "--resume takes every setting from the run folder"),
    "resume and force": ("--resume run --force", "--resume takes every setting from the run folder"),
    "resume and set": ("--resume run --set lora.rank=3", "--resume takes every setting from the run folder"),
    "long name": ("--data good.csv --run ./" + "n" * 300, "File name too long"),
    "long path": ("--data good.csv --preset ./" + "n" * 300, "no preset folder|File name too long"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_one_line_and_changes_nothing(kerora: Kerora, own: Path, case: str) -> None:
    for name, content in FILES.items():
        (own / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    words, message = REFUSALS[case]
    arguments = words.split()
    if "--preset" not in arguments and "--resume" not in arguments:
        arguments += ["--preset", "preset"]
    before = contents(own)
    error = kerora("fit", *arguments).error
    assert any(part in error for part in message.split("|")), error
    assert contents(own) == before


def test_a_preset_that_is_not_cached_without_network_is_quick(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    before, started = contents(own), time.perf_counter()
    for preset in ("distil_bert_base_en_uncased", "hf://distilbert/distilbert-base-uncased"):
        error = kerora("fit", "--preset", preset, "--data", "rows.jsonl").error
        assert f"{preset!r} is not in the cache" in error and "What works without a network" in error
    assert time.perf_counter() - started < 10
    assert contents(own) == before


def test_nan_loss_says_when_and_predict_says_why_there_is_no_adapter(kerora: Kerora, own: Path) -> None:
    wild = ("--learning-rate", "1e30", "--clip-norm", "0", "--warmup", "0", "--quiet")
    answer = kerora(*fit_arguments("preset", "rows.jsonl", "./new", *wild))
    assert "at epoch 1, batch " in answer.error and "Lower --learning-rate" in answer.error
    assert RunFolder("new").read_manifest()["state"] == "failed"
    answer = kerora("predict", "new", "rows.jsonl")
    assert answer.code == 2 and "new holds no adapter, because its training failed: The loss became" in answer.error


def test_force_replaces_every_file_of_the_old_run(kerora: Kerora, own: Path) -> None:
    assert kerora("evaluate", "run", "--test", "rows.jsonl").code == 0
    (own / "run" / "notes.txt").write_text("my own")
    arguments = fit_arguments("preset", "rows.jsonl", "./run", "--seed", 5, "--force", "--quiet")
    assert kerora(*arguments).code == 0
    assert RunFolder("run").read_manifest()["seed"] == 5
    assert not (own / "run" / "evaluations").exists() and (own / "run" / "notes.txt").read_text() == "my own"


def test_a_refused_force_leaves_the_old_run(kerora: Kerora, own: Path) -> None:
    before = contents(own)
    arguments = fit_arguments("preset", "rows.jsonl", "./run", "--force", "--rank", 33)
    assert "Rank 33" in kerora(*arguments).error
    assert contents(own) == before


@pytest.mark.parametrize("size", [1, 1_500, 30_000])
def test_full_disk(kerora: Kerora, own: Path, size: int) -> None:
    """Files that may not grow, as on a full disk: one line, and the run can be replaced or resumed."""
    arguments = fit_arguments("preset", "rows.jsonl", "./new", "--quiet")
    with files_up_to(size):
        answer = kerora(*arguments)
    assert "File too large. Free space" in answer.error
    assert not list(own.rglob("*.tmp"))
    if size == 30_000:
        assert RunFolder("new").read_manifest()["state"] == "failed"
        assert kerora("fit", "--resume", "new", "--quiet").code == 0
    assert kerora(*arguments, "--force").code == 0


# where a person may press Ctrl-C, by the function that is at work then
STAGES = {
    "reading": "kerora.tasks.classification.rows.load_dataset",
    "tokenizing": "kerora.models.task.cached_tokens",
    "the first evaluation": "kerora.tasks.classification.task.evaluate_rows",
    "the final adapter": "kerora.training.fit.write_adapter",
    "the final predictions": "kerora.tasks.classification.task.write_predictions",
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_at_any_stage_can_be_resumed(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch, stage: str, number: signal.Signals
) -> None:
    module, _, name = STAGES[stage].rpartition(".")
    original: Callable[..., object] = getattr(__import__(module, fromlist=[name]), name)

    def interrupted(*arguments: object, **options: object) -> object:
        os.kill(os.getpid(), number)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(STAGES[stage], interrupted)
        answer = kerora(*fit_arguments("preset", "rows.jsonl", "./new", "--quiet"))
    assert answer.code == 128 + number and answer.out == "" and answer.err.count("\n") == 1
    if stage in ("reading", "tokenizing"):  # before anything is written
        assert not (own / "new").exists()
        return
    assert answer.err.strip().endswith("kerora fit --resume new")
    assert RunFolder("new").read_manifest()["state"] == "stopped"
    assert kerora("fit", "--resume", "new", "--quiet").code == 0
    for name in ("metrics.json", "predictions.csv", "adapter/adapter_model.safetensors"):
        assert (own / "new" / name).read_bytes() == (own / "run" / name).read_bytes(), name


def test_ctrl_c_in_a_real_process_while_training(own: Path, kerora: Kerora) -> None:
    write_rows(own / "many.jsonl", rows=6_000)
    process = start(*fit_arguments("preset", "many.jsonl", "./new", "--epochs", 50), cwd=own)
    while not (own / "new" / "metrics.json").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert errors.splitlines()[-1] == "Error: Interrupted. The state is saved. Continue with: kerora fit --resume new"
    assert list((own / "new" / "checkpoints").glob("step-*/state.json"))


def stop_at_the_end(kerora: Kerora, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit the run `new` up to its last files."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kerora.tasks.classification.task.write_predictions", interrupt)
        assert kerora(*fit_arguments("preset", "rows.jsonl", "./new", "--quiet")).code == 130


def test_a_stopped_run_goes_on_from_another_folder(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stop_at_the_end(kerora, monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.move(own / "new", "moved")
    assert kerora("fit", "--resume", "moved", "--quiet").code == 0
    assert Path("moved/metrics.json").read_bytes() == (own / "run" / "metrics.json").read_bytes()


def test_resume_of_a_damaged_run(kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at_the_end(kerora, monkeypatch)
    state = next((own / "new" / "checkpoints").glob("step-*/state.json"))
    weights = state.with_name("state.safetensors")
    for path, content, message in (
        (state, b"{", "state.json is damaged"),
        (state, b"{}", "is damaged: it lacks"),
        (weights, b"cut", "is damaged"),
        (own / "new" / "config.yaml", b"lora: [", "config.yaml is not valid YAML"),
        (own / "new" / "run.json", b"{", "run.json is damaged"),
        (own / "rows.jsonl", b'{"text": "a", "label": "b"}\n' * 9, "a classifier|A classifier|changed"),
    ):
        before = path.read_bytes()
        path.write_bytes(content)
        answer = kerora("fit", "--resume", "new", "--quiet")
        assert any(part in answer.error for part in message.split("|")), answer.error
        path.write_bytes(before)
    assert kerora("fit", "--resume", "new", "--quiet").code == 0


def test_the_side_of_truncation_is_kept_with_the_run(own: Path, kerora: Kerora) -> None:
    text = "great words " * 40
    Path("long.csv").write_text("text,label\n" + "".join(f"{text} {n},{'ab'[n % 2]}\n" for n in range(20)))
    arguments = fit_arguments("preset", "long.csv", "./left", "--truncate", "left")
    answer = kerora(*arguments)
    assert answer.code == 0, answer.err
    assert "Truncation: left, as --truncate says; the tokenizer says right." in answer.out + answer.err
    assert "truncate: left" in Path("left/config.yaml").read_text()
    assert load("left").truncate == "left"
    # a run of an earlier version has no such key, and was cut on the right
    lines = Path("left/config.yaml").read_text().splitlines()
    Path("left/config.yaml").write_text("\n".join(line for line in lines if "truncate:" not in line) + "\n")
    assert load("left").truncate == "right"
