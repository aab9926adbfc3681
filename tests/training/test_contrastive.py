"""`--start contrastive`: the head stays, rows of one class come close, and a resume or a search has the same result."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.config import resolve
from kerora.errors import ConfigError
from kerora.models.classifier import TextClassifier
from kerora.training.contrastive import contrastive_start, features_of, pair_loss
from kerora.training.fit import assemble, fit, resume
from kerora.tuning.workbench import Workbench
from tests.tiny_huggingface import tiny_huggingface
from tests.training.test_augment import losses
from tests.tuning.conftest import short_fit

START = {"training.start": "contrastive"}


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kerora.training.contrastive.UPDATES", 30)
    return {**short_fit(tiny_preset), "training.baseline": False, "training.early_stopping": False}


def test_the_loss_of_pairs_by_hand() -> None:
    features = torch.tensor([[1.0, 0], [0, 2], [1, 1]])
    half = 0.5**0.5
    expected = ((half - 1) ** 2 + (0**2 + half**2) / 2) / 2
    assert float(pair_loss(features, torch.tensor([0, 1, 0]))) == pytest.approx(expected)  # type: ignore[arg-type]
    assert pair_loss(features, torch.tensor([1, 1, 1])) is None
    only_apart = pair_loss(features[:2], torch.tensor([0, 1]))
    assert only_apart is not None and float(only_apart) == pytest.approx(0)


def test_rows_of_one_class_come_close_and_the_head_and_the_base_stay(settings: dict[str, Any]) -> None:
    setup = assemble(resolve(settings))
    model, batches = setup.model, setup.batches
    head = [np.array(weight) for layer in model.head_layers for weight in layer.weights]
    base = [np.array(weight) for weight in model.backbone.weights if "lora" not in weight.path]

    def measured() -> float:
        with torch.no_grad():
            return float(pair_loss(features_of(model, batches[0][0]), torch.as_tensor(batches[0][1])))  # type: ignore[arg-type]

    before = measured()
    line = contrastive_start(model, batches, setup.config.training, 0.01)
    assert measured() < 0.7 * before and line.startswith("Contrastive start: 30 updates")
    after = [np.array(weight) for layer in model.head_layers for weight in layer.weights]
    assert all(np.array_equal(one, two) for one, two in zip(head, after, strict=True))
    now = [np.array(weight) for weight in model.backbone.weights if "lora" not in weight.path]
    assert all(np.array_equal(one, two) for one, two in zip(base, now, strict=True))
    assert batches.epoch == 0 and all(weight.value.grad is None for weight in model.trainable_weights)


def test_resume_and_search_have_the_same_result(settings: dict[str, Any]) -> None:
    whole = fit(resolve(settings, START, {"run": "whole"}))
    plain = fit(resolve(settings, {"run": "plain"}))

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(BaseException):  # noqa: B017
        fit(resolve(settings, START, {"run": "stopped"}), callbacks=[Stop()])
    assert losses(resume("runs/stopped").run.path) == losses(whole.run.path) != losses(plain.run.path)
    bench = Workbench(resolve(settings))
    found = bench.train(resolve(settings, START), "macro_f1")
    expected = whole.metrics["after"]["validation"]
    assert {name: expected[name] for name in found.metrics} == pytest.approx(found.metrics, abs=1e-6)


def test_refusals_and_notes(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--method head has none"):
        fit(resolve(settings, START, {"lora.method": "head"}))
    Path("odd.csv").write_text("text,label\n" + "good film,a\nbad film,b\n" * 10 + "odd,c\n")
    with pytest.warns(UserWarning, match="classes with one row have no pair of their own: 'c'"):
        assemble(resolve(settings, START, {"data.source": "odd.csv", "data.validation_split": 0}))


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks_refuse_it(settings: dict[str, Any], task: str) -> None:
    Path("numbers.csv").write_text("text,label\n" + "good film,1\nbad film,0\n" * 10)
    changes = {"task": task, "data.source": "numbers.csv"}
    with pytest.raises(ConfigError, match="--start"):
        assemble(resolve(settings, START, changes))
    with pytest.raises(ConfigError, match="--consistency"):
        assemble(resolve(settings, {"training.consistency": "rdrop"}, changes))


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_the_features_are_those_that_the_head_reads(kind: str, tmp_path: Path) -> None:
    model: Any = TextClassifier.from_preset(tiny_huggingface(kind, tmp_path / kind), 2, head_dropout=0.0, seed=0)
    inputs = model.encode(["good film", "a very bad film and a dull plot"])
    with torch.no_grad():
        features: Any = features_of(model, inputs)
        for layer in model.head_layers:
            features = layer(features)
        np.testing.assert_allclose(features.numpy(), model(inputs, training=False).numpy(), atol=1e-5)
