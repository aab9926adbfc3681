"""A run folder from a model that a script trained works as one of `kerora fit`."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest

import kerora
from kerora.errors import ConfigError, DataError, RunError
from kerora.models.classifier import TextClassifier
from kerora.runfolder import read_json
from kerora.scripting import save_run

TEXTS, LABELS = ["a great film", "a boring story", "fine", "bad plot"] * 3, ["good", "bad"] * 6


@pytest.fixture
def model(tiny_preset: Path) -> TextClassifier:
    made = TextClassifier.from_preset(str(tiny_preset), ["bad", "good"])
    made.enable_lora(4, alpha=6, dropout=0.1, targets="all-linear")
    made.compile()
    made.fit(TEXTS, LABELS, verbose=0)
    return made


def test_rows_in_memory(model: TextClassifier, tmp_path: Path) -> None:
    history = model.fit(TEXTS, LABELS, epochs=2, verbose=0)
    parts = {"train": (TEXTS, LABELS), "test": (TEXTS[:4], np.array([1, 0, 1, 0]))}
    run = kerora.save_run(model, tmp_path / "run", dataset=parts, history=history)
    loaded = kerora.load(run.path)
    assert np.array_equal(loaded.predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0))
    assert len(run.history.read_text().splitlines()) == 3
    metrics = read_json(run.metrics)["after"]["test"]
    assert metrics["accuracy"] == model.evaluate(TEXTS[:4], LABELS[:4], verbose=0)[1]
    assert kerora.evaluate(run.path).metrics["test"]["accuracy"] == metrics["accuracy"]
    kerora.report(run.path)
    assert (run.report / "report.html").is_file()
    assert run.read_manifest()["parameters"]["trainable"] == sum(int(np.prod(v.shape)) for v in model.trainable_weights)


def test_without_data(model: TextClassifier, tmp_path: Path) -> None:
    run = kerora.save_run(model, tmp_path / "run")
    assert np.array_equal(kerora.load(run.path).predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0))
    with pytest.raises(RunError, match="has no evaluated rows. Evaluate it on labelled rows with"):
        kerora.report(run.path)
    with pytest.raises(RunError, match="exists and is not empty.*force=True"):
        kerora.save_run(model, tmp_path / "run")
    kerora.save_run(model, tmp_path / "run", force=True)


def test_rows_as_kerora_fit_takes_them(model: TextClassifier, tmp_path: Path) -> None:
    table = pyarrow.table({"review": TEXTS, "kind": LABELS})
    wanted = kerora.save_run(model, tmp_path / "tuples", dataset={"train": (TEXTS, LABELS), "test": (TEXTS, LABELS)})
    run = kerora.save_run(
        model, tmp_path / "run", dataset={"train": (TEXTS, LABELS), "test": table}, text="review", label="kind"
    )
    assert read_json(run.metrics) == read_json(wanted.metrics)
    assert kerora.evaluate(run.path).metrics == kerora.evaluate(wanted.path).metrics
    rows = kerora.load_dataset({"source": str(run.data), "validation_split": 0.0})
    assert rows["train"].targets == rows["test"].targets == [1, 0] * 6
    alone = kerora.save_run(model, tmp_path / "alone", dataset=[{"text": "fine", "label": "good"}] * 3)
    assert alone.read_manifest()["data"]["splits"]["train"]["rows"] == 3


def test_a_history_that_is_none_leaves_no_folder(model: TextClassifier, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="history must be what fit returned"):
        kerora.save_run(model, tmp_path / "run", history=[0.5])
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_written_can_be_replaced(
    model: TextClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise RunError("No space left on device")

    parts = {"train": (TEXTS, LABELS)}
    with monkeypatch.context() as patch, pytest.raises(RunError, match="No space left"):
        patch.setattr(save_run, "save_dataset", full)
        kerora.save_run(model, tmp_path / "run", dataset=parts)
    kerora.save_run(model, tmp_path / "run", dataset=parts, force=True)


@pytest.mark.parametrize("method", ["full", "head"])
def test_other_ways_to_train(tiny_preset: Path, tmp_path: Path, method: str) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2)
    model.backbone.trainable = method == "full"
    model.compile()
    model.fit(TEXTS, [1, 0] * 6, verbose=0)
    run = kerora.save_run(model, tmp_path / "run")
    assert np.array_equal(kerora.load(run.path).predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "tickets"}, "The data has the classes account"),
        ({"dataset": {"test": (TEXTS, LABELS)}}, "no training rows"),
        ({"dataset": {"train": TEXTS}}, r"^train \(list\) has no labels to compare with"),
        ({"dataset": {"train": (TEXTS, None)}}, "train: the texts have no labels"),
        ({"dataset": 3}, r"^train \(int\) must be a frame"),
        ({"dataset": [("fine", "great")]}, r"^train \(list\), row 1: label 'great' does not occur in the run"),
        ({"settings": {"training.epochs": 3}}, "'training.epochs'"),
    ],
)
def test_what_is_refused_leaves_no_folder(model: TextClassifier, tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        kerora.save_run(model, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_changes_that_a_run_cannot_hold_are_refused(tiny_preset: Path, tmp_path: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2)
    model.compile()
    model.fit(TEXTS, [1, 0] * 6, verbose=0)
    model.enable_lora(4)
    with pytest.raises(ConfigError, match="differs from its preset, but is not trained now"):
        kerora.save_run(model, tmp_path / "run")
