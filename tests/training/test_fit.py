"""The whole run on a tiny preset: run folder, determinism, resume, signals, NaN, refusals."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from kerora.config import FitConfig, load_yaml, resolve
from kerora.errors import ConfigError, DataError, Interrupted, KeroraError, NotFiniteError, RunError, TrainingError
from kerora.guards.locks import claimed
from kerora.lora.inject import lora_layers
from kerora.runfolder import RunFolder
from kerora.runs.open import load
from kerora.runs.predict import predict_file
from kerora.tasks.contract import HISTORY_COLUMNS
from kerora.training.checkpoint import Checkpointer
from kerora.training.fit import TrainedRun, fit, resume

GOOD = ["great", "wonderful", "love", "best", "excellent", "movie", "thanks", "happy"]
BAD = ["terrible", "awful", "boring", "worst", "hate", "broken", "wrong", "late"]


def write_rows(path: Path, rows: int = 240, seed: int = 0) -> Path:
    """Sentences of good or bad words among neutral ones."""
    generator = np.random.default_rng(seed)
    with path.open("w") as stream:
        for number in range(rows):
            words, label = (GOOD, "good") if number % 2 else (BAD, "bad")
            middle = generator.choice(["the", "was", "my", "order", "story", "plot", "it"], generator.integers(1, 9))
            text = [*middle, *generator.choice(words, 4)]
            generator.shuffle(text)
            stream.write(json.dumps({"text": " ".join(text), "label": label}) + "\n")
    return path


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path) -> dict[str, Any]:
    return short_fit(tmp_path, tiny_preset)


def short_fit(folder: Path, preset: Path) -> dict[str, Any]:
    """Write rows into a folder, 72 of them to train on in nine steps an epoch, and return the settings of a run."""
    write_rows(folder / "rows.jsonl", rows=120)
    return {
        "run": "run",
        "runs_dir": str(folder),
        "data.source": str(folder / "rows.jsonl"),
        "data.validation_split": 0.2,
        "data.test_split": 0.2,
        "model.preset": str(preset),
        "model.max_length": 24,
        "model.precision": "float32",
        "training.batch_size": 8,
        "training.learning_rate": 0.02,
        "training.mask_share": 0.0,
        "training.epochs": 3,
    }


def run_fit(settings: dict[str, Any], **changes: Any) -> TrainedRun:
    return fit(resolve(settings, {key.replace("__", "."): value for key, value in changes.items()}))


def adapter(result: TrainedRun | Path) -> bytes:
    path = result if isinstance(result, Path) else result.run.path
    return RunFolder(path).adapter_weights.read_bytes()


def test_run_folder_is_as_documented(settings: dict[str, Any]) -> None:
    result = run_fit(settings)
    run = result.run
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml", "run.json", "history.csv", "metrics.json", "predictions.csv", "adapter", "checkpoints",
    }  # fmt: skip
    assert {path.name for path in run.adapter.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "kerora_adapter.json", "labels.json",
    }  # fmt: skip
    manifest = run.read_manifest()
    assert manifest["state"] == "finished"
    counts = manifest["parameters"]
    assert counts["lora"] == 2 * 2 * (32 * 8 + 8 * 32) and counts["head"] == (32 * 32 + 32) + (32 * 2 + 2)
    assert counts["trainable"] == counts["lora"] + counts["head"] < counts["total"]
    assert manifest["data"]["splits"]["train"]["labels"] == {"bad": 36, "good": 36}
    metrics = json.loads(run.metrics.read_text())
    assert set(metrics) == {"before", "after", "baseline"} and set(metrics["after"]) == {"validation", "test"}
    expected = {
        "loss", "accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_precision", "weighted_recall",
        "weighted_f1", "mcc", "roc_auc", "ece", "per_class",
    }  # fmt: skip
    assert set(metrics["before"]["test"]) == expected
    assert metrics["after"]["test"]["accuracy"] > 0.9 > metrics["before"]["test"]["accuracy"]
    with run.history.open() as stream:
        history = list(csv.DictReader(stream))
    assert tuple(history[0]) == HISTORY_COLUMNS and len(history) == 3
    assert float(history[0]["tokens_per_second"]) > 0
    with run.predictions.open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["id", "split", "text", "label", "predicted", "score", "p_bad", "p_good"]
    assert {row["split"] for row in rows} == {"validation", "test"} and len(rows) == 48


def test_config_of_a_run_repeats_it_bit_for_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    first = run_fit(settings)
    again = fit(resolve(load_yaml(first.run.config), {"run": "again"}))
    assert first.run.metrics.read_bytes() == again.run.metrics.read_bytes()
    assert adapter(first) == adapter(again)
    other = run_fit(settings, run="other", training__seed=7)
    assert adapter(first) != adapter(other)
    assert yaml.safe_load(first.run.config.read_text())["training"]["seed"] == 42


def test_loaded_run_gives_the_same_probabilities(settings: dict[str, Any]) -> None:
    result = run_fit(settings)
    model = load(result.run.path)
    assert model.classes == ("bad", "good") and len(lora_layers(model)) == 4
    with result.run.predictions.open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    from kerora.data.rows import Rows

    probabilities = model.predict_probabilities(Rows([row["text"] for row in rows], [row["id"] for row in rows]))
    assert [f"{value:.6f}" for value in probabilities[:, 1]] == [row["p_good"] for row in rows]


def stopping_after(updates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGINT to this process once so many updates are done."""
    original = Checkpointer.on_train_batch_end

    def on_train_batch_end(self: Checkpointer, batch: int, logs: Any = None) -> None:
        if self._updates() == updates and not self.interrupt.raised:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        original(self, batch, logs)

    monkeypatch.setattr(Checkpointer, "on_train_batch_end", on_train_batch_end)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> Callable[..., TrainedRun]:
    """Return a function from changes to the run that nobody interrupts, trained once."""
    made: dict[str, TrainedRun] = {}

    def run(**changes: Any) -> TrainedRun:
        key = str(changes)
        if key not in made:
            made[key] = run_fit(short_fit(tmp_path_factory.mktemp("whole"), tiny_preset), **changes)
        return made[key]

    return run


@pytest.mark.parametrize("updates", [3, 9, 14])  # inside epoch 1, at its last update, inside epoch 2
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {
            "training__accumulate": 2,
            "lora__dropout": 0.3,
            "model__head_dropout": 0.2,
            "training__mask_share": 0.2,
        },
    ],
)
def test_interrupted_and_resumed_ends_with_the_same_bytes(
    settings: dict[str, Any],
    undisturbed: Callable[..., TrainedRun],
    monkeypatch: pytest.MonkeyPatch,
    updates: int,
    extra: dict[str, Any],
) -> None:
    whole = undisturbed(**extra)
    with monkeypatch.context() as patch:
        stopping_after(-(-updates // 2) if extra else updates, patch)
        with pytest.raises(Interrupted, match="kerora fit --resume") as stop:
            run_fit(settings, **extra)
    assert stop.value.exit_code == 130
    path = Path(settings["runs_dir"]) / "run"
    assert RunFolder(path).read_manifest()["state"] == "stopped"
    resumed = resume(str(path))
    assert adapter(resumed) == adapter(whole)
    assert resumed.run.metrics.read_bytes() == whole.run.metrics.read_bytes()
    for one, other in zip(resumed.history, whole.history, strict=True):
        for name in ("epoch", "loss", "accuracy", "val_loss", "val_macro_f1", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=1e-6), name


def test_resume_after_early_stopping_and_after_max_steps_does_not_train_on(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, extra in {
        "steps": {"training__max_steps": 13},
        # a rate so high that the values fall by more than the noise of the validation rows
        "early": {"training__patience": 1, "training__learning_rate": 0.3, "training__epochs": 9},
    }.items():
        whole = run_fit(settings, run=f"{name}-whole", **extra)
        with monkeypatch.context() as patch:
            patch.setattr("kerora.training.fit._conclude", _stop_here)
            with pytest.raises(Interrupted):
                run_fit(settings, run=name, **extra)
        resumed = resume(str(Path(settings["runs_dir"]) / name))
        assert len(resumed.history) == len(whole.history) < 9
        assert adapter(resumed) == adapter(whole)


def _stop_here(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_save_steps_keeps_the_last_and_the_best_checkpoint(settings: dict[str, Any]) -> None:
    result = run_fit(settings, training__save_steps=2, training__epochs=4)
    names = sorted(path.name for path in result.run.checkpoints.iterdir())
    assert names[-1] == "step-000036" and len(names) <= 2
    state = json.loads((result.run.checkpoints / names[-1] / "state.json").read_text())
    assert state["best_checkpoint"] in names and state["epoch"] == 4


def test_narrow_models_on_few_rows_have_tokens_hidden(settings: dict[str, Any]) -> None:
    shown = run_fit(settings, training__epochs=1)
    hidden = run_fit({**settings, "training.mask_share": None}, run="hidden", training__epochs=1)
    assert "mask_share: 0.3" in hidden.run.config.read_text() and "mask_share: 0.0" in shown.run.config.read_text()
    assert hidden.history[0]["loss"] != shown.history[0]["loss"]
    assert hidden.metrics["before"] == shown.metrics["before"]


def test_max_steps_wins_over_epochs(settings: dict[str, Any]) -> None:
    assert len(run_fit(settings, training__max_steps=14).history) == 2
    long = run_fit(settings, run="long", training__max_steps=38, training__early_stopping=False)
    assert len(long.history) == 5


def test_early_stopping_restores_the_epoch_that_counts(settings: dict[str, Any]) -> None:
    result = run_fit(settings, training__epochs=8, training__learning_rate=0.02, training__patience=1)
    kept = result.history[result.run.read_manifest()["best_epoch"] - 1]
    after = result.metrics["after"]["validation"]
    assert after["macro_f1"] == pytest.approx(kept["val_macro_f1"])
    best = max(row["val_macro_f1"] for row in result.history)
    rows = sum(part["support"] for part in after["per_class"].values())
    assert best - kept["val_macro_f1"] <= 1 / np.sqrt(rows)
    assert all(row["val_macro_f1"] < kept["val_macro_f1"] + 1 / np.sqrt(rows) for row in result.history)


def test_without_validation_rows(settings: dict[str, Any]) -> None:
    result = run_fit(settings, data__validation_split=0.0)
    assert set(result.metrics["after"]) == {"test"}
    assert yaml.safe_load(result.run.config.read_text())["training"]["early_stopping"] is False


@pytest.mark.parametrize(
    "changes",
    [
        {"training__class_weights": "balanced", "training__label_smoothing": 0.1, "training__schedule": "linear"},
        {"lora__targets": "all-linear", "lora__bias": "lora_only", "training__learning_rate": 0.01},
        {"model__precision": "bfloat16", "training__warmup": 5.0},
        {"training__clip_norm": 0.0, "training__learning_rate": 0.01},
        {"model__precision": "float16"},
    ],
)
def test_settings_train_and_reload(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    result = run_fit(settings, training__epochs=6, **changes)
    assert result.metrics["after"]["test"]["accuracy"] > 0.8
    load(result.run.path)


def test_nan_before_a_whole_epoch_keeps_no_adapter(settings: dict[str, Any]) -> None:
    with pytest.raises(
        NotFiniteError, match=r"at epoch 1, batch \d+ \(rows '.*Lower --learning-rate.*no adapter is kept"
    ):
        run_fit(settings, training__learning_rate=1e30, training__clip_norm=0.0, training__warmup=0.0)
    run = RunFolder(Path(settings["runs_dir"]) / "run")
    assert run.read_manifest()["state"] == "failed" and "epoch" in run.read_manifest()["error"]
    with pytest.raises(RunError, match="holds no adapter, because its training failed: The loss became"):
        load(run.path)


def test_existing_run_is_refused_unless_forced(settings: dict[str, Any]) -> None:
    first = run_fit(settings)
    with pytest.raises(RunError, match="exists. Choose another --run, continue it with --resume, or add --force"):
        run_fit(settings)
    second = fit(resolve(settings, {"training.seed": 3}), force=True)
    assert second.run.path == first.run.path and second.run.read_manifest()["seed"] == 3


def test_runs_are_numbered(settings: dict[str, Any]) -> None:
    names = [run_fit(settings, run=None, training__epochs=1).run.path.name for _ in range(2)]
    assert names == ["tiny_distil_bert-rows-r8-1", "tiny_distil_bert-rows-r8-2"]


def test_force_does_not_replace_a_folder_that_is_no_run(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not a run folder and is not empty"):
        fit(resolve(settings), force=True)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"lora__targets": "qery"}, ConfigError, "Did you mean 'query'"),
        ({"lora__rank": 33}, ConfigError, "Rank 33 exceeds"),
        ({"training__monitor": "val_f1"}, ConfigError, "Unknown --monitor 'val_f1'"),
        ({"data__source": "rows_that_are_not.csv"}, DataError, "rows_that_are_not.csv"),
        ({"data__label": "labels"}, DataError, "label, text|text, label"),
        ({"model__preset": "no_such_preset"}, KeroraError, "no_such_preset"),
    ],
)
def test_bad_input_changes_nothing(
    settings: dict[str, Any], changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        run_fit(settings, **changes)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_resume_refusals(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="no run folder"):
        resume(str(tmp_path / "nowhere"))
    finished = run_fit(settings, run="finished", training__epochs=1)
    with pytest.raises(RunError, match="is finished"):
        resume(str(finished.run.path))
    stopping_after(3, monkeypatch)
    with pytest.raises(Interrupted):
        run_fit(settings)
    write_rows(tmp_path / "rows.jsonl", rows=120, seed=9)
    with pytest.raises(RunError, match="changed since it started"):
        resume(str(tmp_path / "run"))


def test_a_run_that_another_process_trains_is_left_alone(settings: dict[str, Any]) -> None:
    run = run_fit(settings, training__epochs=1).run
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    run.update_manifest(state="running")
    with claimed(run.path):
        started = time.perf_counter()
        for work in (lambda: resume(run.path), lambda: fit(resolve(settings, {}), force=True)):
            with pytest.raises(RunError, match=f"run is in use by process {os.getpid()} on .*Wait for it"):
                work()
        assert time.perf_counter() - started < 1  # before data and model are loaded
    assert {path: path.read_bytes() for path in before if path != run.manifest} == {
        path: content for path, content in before.items() if path != run.manifest
    }
    # the process that wrote the state has died
    assert resume(run.path).run.read_manifest()["state"] == "finished"


def test_too_little_memory_names_the_remedy(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def allocate(*_: Any) -> Any:
        return torch.empty(2**50)

    monkeypatch.setattr("kerora.training.loop.run_fit", allocate)
    with pytest.raises(TrainingError, match=r"not enough memory .*Lower --batch-size"):
        run_fit(settings)


def test_pairs_are_asked_for_again_in_prediction(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"premise": f"the plot {number}", "hypothesis": "was good", "label": number % 2} for number in range(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_fit(settings, data__source=str(tmp_path / "pairs.jsonl"), training__epochs=1).run
    output = tmp_path / "out.csv"
    assert predict_file(run.path, tmp_path / "pairs.jsonl", output) == 60
    (tmp_path / "single.txt").write_text("the plot was good\n")
    with pytest.raises(DataError, match="trained on pairs"):
        predict_file(run.path, tmp_path / "single.txt", tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.slow
def test_kill_during_training_leaves_a_run_that_resumes(settings: dict[str, Any], tmp_path: Path) -> None:
    """SIGTERM to a real process: exit code 143, then a resume that ends like an undisturbed run."""
    flat = resolve(settings, {"training.epochs": 8, "training.early_stopping": False})
    config = tmp_path / "config.yaml"
    from kerora.config import dump_yaml

    config.write_text(dump_yaml(flat))
    process = subprocess.Popen(
        [sys.executable, "-m", "kerora", "fit", "--config", str(config)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 120
    while not list((tmp_path / "run" / "checkpoints").glob("step-*/state.json")) and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "kerora fit --resume" in errors and "Traceback" not in errors
    resumed = resume(str(tmp_path / "run"))
    whole = fit(FitConfig(**{**vars(flat), "run": "whole"}))
    assert adapter(resumed) == adapter(whole)
