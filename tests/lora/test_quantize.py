"""Quantised frozen kernels: right gradients, whole runs, merging, and the memory of the base."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kerora.errors import ConfigError
from kerora.exchange.export import export_run
from kerora.lora.inject import enable_lora, lora_layers
from kerora.lora.quantize import dequantize_into, quantised_layers, quantize
from kerora.lora.select import all_layers, can_adapt
from kerora.models.classifier import TextClassifier
from kerora.runs.open import load
from tests.tiny_huggingface import tiny_huggingface
from tests.training.test_fit import run_fit, settings

__all__ = ["settings"]
MODES = ("int8", "int4")


def classifier(folder: Path) -> TextClassifier:
    return TextClassifier.from_preset(str(folder), 2, max_length=24, head_dropout=0.0, seed=0)


def gradients(model: TextClassifier, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    for variable in model.trainable_weights:
        variable.value.grad = None
    logits = model(inputs, training=True)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1])).backward()
    return [variable.value.grad.numpy() for variable in model.trainable_weights]


@pytest.mark.usefixtures("side")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["distil_bert", "bert", "gpt2"])
@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_the_kernels_it_stands_for(
    kind: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # on the plain side Keras calls it for each kernel: half a second in a process with many tests behind it
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)
    folder = tiny_huggingface(kind, tmp_path / kind, initializer_range=0.2)
    model, plain = classifier(folder), classifier(folder)
    done = quantize(model, mode)
    assert done.layers == 12 + (kind == "bert") and done.bytes_after < done.bytes_before
    assert 0 < dequantize_into(model, plain) < 0.5
    generator = np.random.default_rng(0)
    for each in (model, plain):
        enable_lora(each, rank=4, targets=("query", "value"), dropout=0.0)
    for mine, theirs in zip(lora_layers(model), lora_layers(plain), strict=True):
        value = generator.normal(0, 0.2, mine.update.b.shape)
        mine.update.b.assign(value)
        theirs.update.b.assign(value)
    inputs = model.encode(["great movie", "the order was late and broken", "love"])
    with torch.no_grad():
        assert (model(inputs) - plain(inputs)).abs().max() < 1e-4
    for mine, theirs in zip(gradients(model, inputs), gradients(plain, inputs), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_the_float_kernels_are_gone_at_once(mode: str, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(tiny_preset)
    kernels = [weakref.ref(layer._kernel.value) for layer in all_layers(model.backbone) if can_adapt(layer)]
    collected: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: collected.append(generation))
    gc.disable()
    try:
        assert len(kernels) == quantize(model, mode).layers
        assert not [kernel for kernel in kernels if kernel() is not None]
    finally:
        gc.enable()
    assert not collected, "a round of the garbage collector for each kernel takes half a second"
    gc.collect()
    assert collected
    listed = {id(parameter) for parameter in model.parameters()}
    assert {id(weight.value) for weight in model.weights} <= listed


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_quantised_run_trains_loads_and_merges(
    settings: dict[str, Any], mode: str, precision: str, tmp_path: Path
) -> None:
    result = run_fit(settings, model__quantize=mode, model__precision=precision)
    assert result.metrics["after"]["test"]["accuracy"] > 0.9
    model = load(result.run.path)
    assert quantised_layers(model) and lora_layers(model)
    weights = result.run.read_manifest()["base_weights"]
    assert weights["quantize"] == mode and weights["layers"] == len(quantised_layers(model))
    size = sum(v.value.numel() * v.value.element_size() for v in model.backbone.weights if "lora" not in v.path)
    assert weights["mb"] == pytest.approx(size / 1e6, abs=0.001) and weights["mb"] < weights["unquantised_mb"]
    merged = export_run(str(result.run.path), "transformers", tmp_path / "merged")
    assert merged.largest_difference is not None and merged.largest_difference < 1e-3
    assert "The base was quantised. Its weights keep their differences" in merged.note
    adapter = export_run(str(result.run.path), "peft", tmp_path / "peft")
    assert adapter.agreement == 1.0 and "unquantised base" in adapter.note


@pytest.mark.slow
def test_refusals(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_huggingface("bert", tmp_path / "bert")
    model = classifier(folder)
    with pytest.raises(ConfigError, match="int8, int4. Received: 'int2'"):
        quantize(model, "int2")
    quantize(model, "int8")
    with pytest.raises(ConfigError, match="quantised already"):
        quantize(model, "int8")
    for options in ({"use_dora": True}, {"init": "pissa"}):
        with pytest.raises(ConfigError, match="DoRA and PiSSA need the kernel itself"):
            enable_lora(model, **options)
    with pytest.raises(ConfigError, match="--quantize freezes the base"):
        run_fit(settings, model__quantize="int8", lora__method="full")
