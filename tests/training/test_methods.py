"""Every variant and method through the whole run: trained, saved, loaded with the same numbers, resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from kerora.data.sources import load_dataset
from kerora.errors import ConfigError, Interrupted
from kerora.runs.open import load, read_config
from kerora.tasks.classification.task import evaluate_rows
from kerora.training.checkpoint import Checkpointer
from kerora.training.fit import resume
from tests.training.test_fit import run_fit, settings

__all__ = ["settings"]

VARIANTS: dict[str, dict[str, Any]] = {
    "rslora": {"lora__use_rslora": True},
    "dora": {"lora__use_dora": True},
    "pissa": {"lora__init": "pissa", "training__learning_rate": 0.003},
    "lora+": {"lora__loraplus_lr_ratio": 4, "training__learning_rate": 0.003},
    "patterns": {"lora__rank_pattern": "query=4", "lora__alpha_pattern": "value=32", "lora__layers": "last:1"},
    "biases and modules": {"lora__bias": "all", "lora__modules_to_save": "feedforward_layer_norm"},
    "float16 file": {"lora__adapter_dtype": "float16"},
    "full": {"lora__method": "full", "training__learning_rate": 0.002},
    # a head alone learns slowly
    "head": {"lora__method": "head", "training__epochs": 8, "training__learning_rate": 0.01},
    "biases in bfloat16": {"lora__bias": "lora_only", "model__precision": "bfloat16"},
    "full in bfloat16": {"lora__method": "full", "model__precision": "bfloat16", "training__learning_rate": 0.002},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_comes_back_as_it_was(settings: dict[str, Any], name: str) -> None:
    result = run_fit(settings, **VARIANTS[name])
    metrics = result.metrics
    assert metrics["after"]["test"]["loss"] < metrics["before"]["test"]["loss"]
    model = load(result.run.path)
    rows = load_dataset(read_config(result.run).data, 42)["test"]
    again, _ = evaluate_rows(model, rows)
    tolerance = 1e-5 if name == "pissa" else 0  # stored as its difference from the base
    assert again["loss"] == pytest.approx(metrics["after"]["test"]["loss"], abs=tolerance, rel=0)
    trained = {variable.path for variable in model.trainable_variables}
    assert len(trained) == len(model.trainable_variables)
    assert {str(variable.dtype) for variable in model.trainable_variables} == {"float32"}
    if name == "float16 file":
        tensors = safetensors.numpy.load_file(result.run.adapter_weights)
        assert {value.dtype for value in tensors.values()} == {np.dtype("float16")}


@pytest.mark.parametrize("name", ["pissa", "full", "lora+"])
def test_a_resumed_run_ends_with_the_same_bytes(
    settings: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_fit(settings, **VARIANTS[name])
    original = Checkpointer.on_epoch_end

    def stop(self: Checkpointer, epoch: int, logs: Any = None) -> None:
        original(self, epoch, logs)
        if epoch == 0:
            self.finish()
            raise Interrupted("stop", 2)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "on_epoch_end", stop)
        with pytest.raises(Interrupted):
            run_fit(settings, run="stopped", **VARIANTS[name])
    folder = Path(settings["runs_dir"]) / "stopped"
    resumed = resume(str(folder))
    assert resumed.run.adapter_weights.read_bytes() == whole.run.adapter_weights.read_bytes()


def test_names_and_refusals(settings: dict[str, Any]) -> None:
    result = run_fit(settings, run="", lora__method="head", training__max_steps=1)
    assert result.run.path.name.endswith("-head-1")
    with pytest.raises(ConfigError, match="--rank-pattern needs NAME=NUMBER, for example query=16. Received: 'query'"):
        run_fit(settings, run="a", lora__rank_pattern="query")
    with pytest.raises(ConfigError, match="matches none of the adapted"):
        run_fit(settings, run="a", lora__rank_pattern="nose=3")
