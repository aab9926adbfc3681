"""A run folder from a model that a script trained works as one of `kerora fit`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kerora
from kerora.errors import ConfigError, RunError
from kerora.models.classifier import TextClassifier
from kerora.runfolder import read_json

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
        ({"dataset": {"train": TEXTS}}, r"dataset\['train'\] must be a tuple"),
        ({"dataset": 3}, "dataset must be a name or path"),
        ({"settings": {"training.epochs": 3}}, "'training.epochs'"),
    ],
)
def test_what_is_refused_leaves_no_folder(model: TextClassifier, tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kerora.save_run(model, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_changes_that_a_run_cannot_hold_are_refused(tiny_preset: Path, tmp_path: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), 2)
    model.compile()
    model.fit(TEXTS, [1, 0] * 6, verbose=0)
    model.enable_lora(4)
    with pytest.raises(ConfigError, match="differs from its preset, but is not trained now"):
        kerora.save_run(model, tmp_path / "run")
