"""The real tools, as far as they work without a network: what they write is read back."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kerora.config import load_yaml, resolve
from kerora.errors import ConfigError, Interrupted
from kerora.notices import Notice
from kerora.pretraining.pretrain import pretrain
from kerora.runfolder import RunFolder
from kerora.training.fit import TrainedRun, fit, resume
from kerora.tuning.study import tune
from tests.conftest import ROOT
from tests.tiny import tiny_huggingface
from tests.tracking.read_wandb import read_offline_run
from tests.training.test_fit import stopping_after, write_rows

SECRET = "hunter2secret"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow without runs. It takes seconds to make."""
    mlflow = pytest.importorskip("mlflow")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stores and caches of the tools lie in the folder of the test, and no credentials are found."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    yield


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path) -> dict[str, Any]:
    write_rows(tmp_path / "rows.jsonl", rows=40)
    return {
        "run": str(tmp_path / "run"),
        "data.source": str(tmp_path / "rows.jsonl"),
        "data.test_split": 0.2,
        "data.validation_split": 0.2,
        "model.preset": str(tiny_preset),
        "model.max_length": 24,
        "model.precision": "float32",
        "training.batch_size": 8,
        "training.epochs": 2,
        "training.logging_steps": 2,
    }


def tensorboard(folder: Path) -> Any:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def offline_runs(folder: Path) -> list[dict[str, Any]]:
    """Return the runs in a folder. The service of wandb writes the end of a run a moment after `finish`."""
    limit = time.monotonic() + 30
    while True:
        found = [read_offline_run(path) for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb"))]
        if all(run["exit"] is not None for run in found) or time.monotonic() > limit:
            return found
        time.sleep(0.2)


def curve(events: Any, name: str) -> list[tuple[int, float]]:
    return [(point.step, round(point.value, 5)) for point in events.Scalars(name)]


def expected(result: TrainedRun, name: str) -> list[float]:
    return [round(row[name], 5) for row in result.history]


def test_tensorboard(settings: dict[str, Any]) -> None:
    pytest.importorskip("tensorboard")
    result = fit(resolve(settings, {"log": "tensorboard"}))
    events = tensorboard(result.run.logs)
    assert [value for _, value in curve(events, "epoch/val_loss")] == expected(result, "val_loss")
    updates = [step for step, _ in curve(events, "epoch/val_loss")]
    assert updates == [len(result.history) and step for step in (updates[0], 2 * updates[0])]
    assert [step for step, _ in curve(events, "step/loss")] == list(range(2, updates[-1] + 1, 2))
    assert curve(events, "after/test/accuracy") == [(0, round(result.metrics["after"]["test"]["accuracy"], 5))]
    assert set(events.Tags()["images"]) == {"report/confusion_matrix", "report/coverage", "report/curves"}
    assert events.Images("report/curves")[0].width > 100
    text = events.Tensors("report/classification_report")[0].tensor_proto.string_val[0].decode()
    assert "precision" in text and "good" in text
    hyperparameters = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"lora.rank" in hyperparameters and b"model.preset" in hyperparameters
    assert (result.run.report / "report.html").is_file()
    # where a run logs is no setting of its result
    assert load_yaml(result.run.config)["log"] == ["tensorboard"]
    assert "log" not in json.loads(result.run.manifest.read_text())["changed_settings"]


def test_tensorboard_never_imports_tensorflow(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    # a stand-in that a lean installation lacks: TensorBoard imports TensorFlow wherever it finds it
    (tmp_path / "fake" / "tensorflow").mkdir(parents=True)
    (tmp_path / "fake" / "tensorflow" / "__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    code = (
        "import json, sys; from pathlib import Path; from kerora.tracking.tensorboard import TensorBoard; "
        "from kerora.tracking.contract import TrackedRun; tool = TensorBoard(); "
        "tool.start(TrackedRun('x', Path('logs'), {'lora.rank': 8})); tool.log({'a': 1.0}, 1); "
        "tool.finish({'b': 2.0}, [], 'finished'); print('tensorflow' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path / "fake")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_wandb_offline_without_credentials(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("SOME_PASSWORD", SECRET)
    monkeypatch.setattr(sys, "argv", ["kerora", "fit", "--storage", f"postgresql://me:{SECRET}@host/db"])
    with pytest.warns(Notice, match="wandb has no credentials, so the run is logged offline"):
        result = fit(resolve(settings, {"log": "wandb"}))
    (found,) = offline_runs(result.run.logs)
    assert (found["name"], found["exit"]) == ("run", 0)
    assert found["config"]["lora.rank"] == 8 and found["config"]["task"] == "classification"
    losses = [row["epoch/val_loss"] for row in found["history"] if "epoch/val_loss" in row]
    assert [round(loss, 5) for loss in losses] == expected(result, "val_loss")
    assert found["summary"]["after/test/accuracy"] == result.metrics["after"]["test"]["accuracy"]
    assert found["history"][-1]["report/report/_type"] == "html-file"
    written = b"".join(path.read_bytes() for path in result.run.logs.rglob("*") if path.is_file())
    assert SECRET.encode() not in written


@pytest.mark.parametrize("named", [False, True])
def test_mlflow_in_a_local_store(
    named: bool, settings: dict[str, Any], tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    store, experiment = (tmp_path / "mine.db", "tickets") if named else (tmp_path / "mlflow.db", "kerora")
    shutil.copy(empty_store, store)
    if named:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", experiment)
    result = fit(resolve(settings, {"log": "mlflow"}))
    assert [path.name for path in tmp_path.glob("*.db")] == [store.name]
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["lora.rank"] == "8" and set(run.data.tags) >= {"kerora", "keras", "torch"}
    assert "mlflow.user" not in run.data.tags and "mlflow.source.name" not in run.data.tags
    history = client.get_metric_history(run.info.run_id, "epoch/val_loss")
    assert [round(point.value, 5) for point in history] == expected(result, "val_loss")
    assert run.data.metrics["after/test/accuracy"] == result.metrics["after"]["test"]["accuracy"]
    artefacts = {item.path for item in client.list_artifacts(run.info.run_id, "report")}
    assert {"report/report.html", "report/confusion_matrix.png"} <= artefacts


def test_a_server_that_is_gone(
    settings: dict[str, Any], tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    from kerora.tracking import mlflow as tool

    log = tool.MLflow.log

    def gone(self: tool.MLflow, values: Any, step: int) -> None:
        self._client = type(self._client)("http://127.0.0.1:9")
        log(self, values, step)

    monkeypatch.setattr(tool.MLflow, "log", gone)
    with pytest.warns(Notice, match="Logging to mlflow failed, so the training continues without it") as notes:
        result = fit(resolve(settings, {"log": "mlflow"}))
    assert len([note for note in notes if "mlflow" in str(note.message)]) == 1
    assert result.run.read_manifest()["state"] == "finished"


def test_a_resume_goes_on_in_the_same_runs(
    settings: dict[str, Any], tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    tools = [name for name in ("tensorboard", "wandb", "mlflow") if pytest.importorskip(name)]
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = Path(settings["run"])
    with monkeypatch.context() as patch:
        stopping_after(5, patch)
        with pytest.raises(Interrupted):
            fit(resolve(settings, {"log": tools}))
    before = RunFolder(path).read_manifest()["tracking"]
    result = resume(str(path))
    assert result.run.read_manifest()["tracking"] == before
    events = tensorboard(result.run.logs)
    assert [value for _, value in curve(events, "epoch/val_loss")] == expected(result, "val_loss")
    steps = [step for step, _ in curve(events, "step/loss")]
    assert steps == sorted(set(steps)), "no point twice"
    first, second = offline_runs(result.run.logs)
    assert first["id"] == second["id"] == before["wandb"] and first["exit"] == 255 and second["exit"] == 0
    import mlflow

    run = mlflow.MlflowClient().get_run(before["mlflow"])
    assert run.info.status == "FINISHED" and "after/test/accuracy" in run.data.metrics


def test_a_language_model(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    book = tmp_path / "book.txt"
    book.write_text("\n".join(f"the story of number {number} was great" for number in range(60)))
    preset = tiny_huggingface("gpt2", tmp_path / "gpt2", task="LMHeadModel")
    more = {"model.preset": str(preset), "data.source": str(book), "task": "causal-lm", "language.samples": 0}
    result = fit(resolve(settings, more, {"log": "tensorboard", "training.epochs": 1}))
    events = tensorboard(result.run.logs)
    assert curve(events, "after/test/perplexity")[0][1] == round(result.metrics["after"]["test"]["perplexity"], 5)
    assert "report/curves" in events.Tags()["images"]


def test_the_trials_of_a_search(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    del settings["run"]
    own = {"trials": 2, "study": "s", "studies_dir": str(tmp_path), "space": "lora"}
    space = {"lora.rank": [2, 4]}
    tune(resolve(settings, {"log": "tensorboard", "training.epochs": 1}), own, space=space)
    trials = sorted(path.name for path in (tmp_path / "s" / "logs").iterdir())
    assert trials == ["trial-0-seed-42", "trial-1-seed-42"]
    for name in trials:
        events = tensorboard(tmp_path / "s" / "logs" / name)
        assert len(curve(events, "epoch/val_macro_f1")) == 1 and curve(events, "after/validation/macro_f1")


def test_a_pretraining(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the story of number {number} was great and long" for number in range(200)))
    config = {
        "output": str(tmp_path / "made"),
        "log": "tensorboard",
        "data": {"text": [str(text)]},
        "model": {"layers": 1, "width": 16, "heads": 2, "intermediate": 16, "vocabulary_size": 120, "max_length": 16},
        "training": {"epochs": 1},
    }
    result = pretrain(config)
    events = tensorboard(result.run.logs)
    name, value = next(iter(result.metrics.items()))
    assert curve(events, f"after/held_out/{name}") == [(0, round(value, 5))]
    assert events.Tags()["images"] == ["report/curves"]


@pytest.mark.parametrize(
    ("tool", "variables", "message"),
    [
        ("mlflow", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, "API request to http://127.0.0.1:9"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "nonsense://a"}, "unsupported URI"),
        ("wandb", {"WANDB_API_KEY": "short"}, "WANDB_API_KEY invalid"),
        ("wandb", {"WANDB_DIR": "rows.jsonl/x", "WANDB_MODE": "offline"}, "Not a directory"),
    ],
)
def test_a_tool_that_cannot_start_leaves_no_folder_and_the_old_run(
    tool: str, variables: dict[str, str], message: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(tool)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    old = RunFolder("runs/old")
    old.path.mkdir(parents=True)
    old.update_manifest(state="finished")
    for more in ({"run": "new"}, {"run": "old"}):
        with pytest.raises(ConfigError, match=rf"^--log {tool} cannot start: .*{message}.* leave {tool} out\.$"):
            fit(resolve(settings, more, {"log": tool}), force=True)
    assert [path.name for path in Path("runs").iterdir()] == ["old"] and old.read_manifest() == {"state": "finished"}
