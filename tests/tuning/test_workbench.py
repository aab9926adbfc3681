"""Trial after trial on one base model: the same as a fit alone, the base untouched, no growth, no test rows."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.config import resolve
from kerora.errors import ConfigError, TrainingError
from kerora.lora.inject import lora_layers
from kerora.models.shared import checksum
from kerora.runs.open import load
from kerora.runs.results import read_results
from kerora.tasks.registry import Task, register, unregister
from kerora.training.fit import fit
from kerora.training.stopping import trainable_values
from kerora.tuning.workbench import Workbench, searched_task
from tests.conftest import ROOT
from tests.training.test_fit import write_rows

CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"lora.rank": 4, "lora.targets": "all-linear", "model.head_dropout": 0.0, "lora.dropout": 0.0},
    {"lora.bias": "lora_only", "model.head_dropout": 0.4, "training.batch_size": 8, "training.seed": 7},
    {"model.max_length": 12, "training.early_stopping": False, "training.accumulate": 2},
    {"training.epochs": 5, "training.patience": 1, "training.learning_rate": 0.05},
    {},
)


@pytest.mark.slow
def test_each_trial_has_the_results_of_a_fit_alone(settings: dict[str, Any], tmp_path: Path) -> None:
    bench = Workbench(resolve(settings))
    base = checksum(bench._base(bench.config).model.backbone)
    for number, changes in enumerate(CHANGES):
        config = resolve(settings, changes, {"runs_dir": str(tmp_path), "run": f"alone-{number}"})
        # the search draws the splits once; only a seed of its own would change them
        if "training.seed" in changes:
            own = Workbench(config)
            own_outcome, outcome = own.train(config, "macro_f1"), None
        else:
            own_outcome, outcome = None, bench.train(config, "macro_f1")
        alone = fit(config)
        found = outcome or own_outcome
        assert found is not None
        expected = alone.metrics["after"]["validation"]
        assert {name: expected[name] for name in found.metrics} == pytest.approx(found.metrics, abs=1e-6)
        rows = read_results(alone.run).splits["validation"]
        assert np.array_equal(rows.predicted, found.predictions["predicted"])
        true = rows.probabilities[np.arange(len(rows)), rows.labels]
        np.testing.assert_allclose(true, found.predictions["true_probability"], atol=2e-6)
        assert found.kept_epoch == alone.run.read_manifest()["best_epoch"] and found.epochs == len(alone.history)
        assert checksum(bench._base(bench.config).model.backbone) == base
    assert len(bench._bases) == 1
    first, last = (bench.train(resolve(settings), "macro_f1").predictions["true_probability"] for _ in range(2))
    assert np.array_equal(first, last)


def test_the_trained_weights_are_those_of_a_fit_alone_to_the_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    bench = Workbench(resolve(settings))
    bench.train(resolve(settings, {"lora.rank": 4, "lora.targets": "all-linear", "lora.bias": "lora_only"}), "accuracy")
    config = resolve(settings, {"training.early_stopping": False, "runs_dir": str(tmp_path), "run": "alone"})
    trained: list[np.ndarray] = []

    def keep(epoch: int, value: float, last: bool) -> None:
        if last:
            trained.extend(trainable_values(bench._base(bench.config).model))

    bench.train(config, "macro_f1", keep)
    alone = trainable_values(load(fit(config).run.path))
    assert len(alone) == len(trained) > 6
    assert all(np.array_equal(one, other) for one, other in zip(alone, trained, strict=True))


def test_a_changed_base_is_noticed(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench(resolve(settings))
    backbone = bench._base(bench.config).model.backbone
    kernel = next(weight for weight in backbone.weights if weight.path.endswith("kernel"))

    def spoil(*_: Any) -> None:
        value = kernel.value.detach().clone()
        value.view(-1)[3] += 1e-6
        kernel.assign(value)

    monkeypatch.setattr("kerora.tuning.workbench.run_fit", lambda *_: spoil())
    with pytest.raises(RuntimeError, match="changed the base model"):
        bench.train(resolve(settings), "macro_f1")


def test_a_failed_trial_leaves_the_base_ready_for_the_next(settings: dict[str, Any]) -> None:
    bench = Workbench(resolve(settings))
    whole = bench.train(resolve(settings), "macro_f1")

    def stop(epoch: int, value: float, last: bool) -> None:
        raise TrainingError(f"stopped after epoch {epoch}")

    with pytest.raises(TrainingError, match="stopped after epoch 1"):
        bench.train(resolve(settings), "macro_f1", stop)
    with pytest.raises(ConfigError, match="Rank 64 exceeds"):
        bench.train(resolve(settings, {"lora.rank": 64}), "macro_f1")
    assert not lora_layers(bench._base(bench.config).model)
    again = bench.train(resolve(settings), "macro_f1").predictions
    assert np.array_equal(again["true_probability"], whole.predictions["true_probability"])


def test_another_precision_gets_a_base_of_its_own(settings: dict[str, Any]) -> None:
    bench = Workbench(resolve(settings))
    for precision in ("float32", "bfloat16", "float32"):
        bench.train(resolve(settings, {"model.precision": precision}), "accuracy")
    assert len(bench._bases) == 2


def test_validation_rows_are_needed_and_stay_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="A search needs validation rows"):
        Workbench(resolve(settings, {"data.validation_split": 0.0}))
    bench = Workbench(resolve(settings))
    other = dataclasses.replace(bench.config.data, validation_split=0.5)
    with pytest.raises(ConfigError, match="change the validation rows"):
        bench.dataset(other)


def test_a_task_without_the_face_is_refused() -> None:
    register(Task("ranking", "SEQ_CLS", "ranker", "tests.tuning"))
    try:
        with pytest.raises(ConfigError) as caught:
            searched_task(resolve({"task": "ranking"}))
    finally:
        unregister("ranking")
    said = str(caught.value)
    assert said.startswith(
        "kerora tune searches the settings of --task classification, multi-label, regression, causal-lm"
    )
    assert said.endswith("Received: --task ranking")


GROWTH = """
from kerora.fast.lean_import import import_keras_lean
import_keras_lean()
import gc, os, sys, psutil
from kerora.config import resolve
from kerora.tuning.workbench import Workbench
settings = {"data.source": "rows.jsonl", "data.validation_split": 0.25, "model.preset": sys.argv[1],
            "model.max_length": 24, "model.precision": "float32", "training.batch_size": 64, "training.epochs": 1}
bench = Workbench(resolve(settings))
process, memory, objects = psutil.Process(), [], []
for number in range(33):
    changes = {"lora.rank": (2, 4, 8)[number % 3], "lora.targets": ("query,value", "all-linear")[number % 2]}
    bench.train(resolve(settings, changes), "macro_f1")
    memory.append(process.memory_info().rss)
    objects.append(len(gc.get_objects()))
print(max(memory[:6]), memory[32], objects[5], objects[32])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_trials(settings: dict[str, Any], tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", rows=56)  # fewer rows, because each of many trials reads them
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", GROWTH, settings["model.preset"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    early, late, few, many = map(int, done.stdout.split())
    assert late <= 1.05 * early
    assert many <= few + 500
