"""Classification heads against numpy in float64, and the precision of a run's backbone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch

from kerora.config import resolve
from kerora.models import precision
from kerora.models.architectures import ARCHITECTURES
from kerora.models.heads import INITIAL_SPREAD, ClassifierHead, last_token, reset_head
from kerora.models.precision import backbone_dtype, resolve_precision

ROWS, LENGTH, WIDTH, CLASSES = 5, 7, 8, 3
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "gelu": lambda x: x * scipy.special.ndtr(x),
    None: lambda x: x,
}


def head_of(kind: str, **options: Any) -> ClassifierHead:
    options = {"dropout": 0.1, "use_pooler": False, "seed": 0, **options}
    head = ClassifierHead(ARCHITECTURES[kind].head, WIDTH, CLASSES, **options)
    features = np.zeros((1, LENGTH, WIDTH), np.float32)
    head({"sequence_output": features, "pooled_output": features[:, 0]}, np.ones((1, LENGTH), np.int32))
    return head


def batch() -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(LENGTH) < np.array([7, 1, 4, 0, 3])[:, None]
    states = np.random.default_rng(0).normal(size=(ROWS, LENGTH, WIDTH))
    return states.astype(np.float32), mask.astype(np.int32)


def by_hand(head: ClassifierHead, kind: str, features: np.ndarray) -> np.ndarray:
    values = np.asarray(features, np.float64)
    for layer in head.layers:
        values = values @ np.asarray(layer.kernel.numpy(), np.float64)
        values = values + (np.asarray(layer.bias.numpy(), np.float64) if layer.use_bias else 0)
        if layer.name == "pooled_dense":
            values = ACTIVATIONS[ARCHITECTURES[kind].head.activation](values)
    return values


@pytest.mark.parametrize("kind", ["distil_bert", "bert", "roberta", "electra", "deberta_v3", "gpt2"])
def test_logits_are_those_of_numpy(kind: str) -> None:
    head, (states, mask) = head_of(kind), batch()
    generator = np.random.default_rng(1)
    shapes = {f"{layer.name}/kernel": layer.kernel.shape for layer in head.layers}
    shapes |= {f"{layer.name}/bias": layer.bias.shape for layer in head.layers if layer.use_bias}
    head.assign({name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
    last = np.maximum(mask.sum(axis=1) - 1, 0)
    chosen = states[np.arange(ROWS), last] if kind == "gpt2" else states[:, 0]
    with torch.no_grad():
        found = head(torch.tensor(states), torch.tensor(mask)).numpy()
    np.testing.assert_allclose(found, by_hand(head, kind, chosen), atol=1e-5)
    assert [layer.name for layer in head.layers] == (["logits"] if kind == "gpt2" else ["pooled_dense", "logits"])


def test_a_pooler_of_the_backbone_takes_the_place_of_the_dense_layer() -> None:
    head, (states, mask) = head_of("bert", use_pooler=True), batch()
    pooled = np.tanh(states[:, 1])
    with torch.no_grad():
        found = head({"pooled_output": torch.tensor(pooled), "sequence_output": torch.tensor(states)}, mask).numpy()
    np.testing.assert_allclose(found, by_hand(head, "bert", pooled), atol=1e-6)
    assert [layer.name for layer in head.layers] == ["logits"]


def test_the_last_token_of_each_row() -> None:
    states, mask = batch()
    found = last_token(torch.tensor(states), torch.tensor(mask)).numpy()
    expected = [states[row, max(0, length - 1)] for row, length in enumerate(mask.sum(axis=1))]
    np.testing.assert_array_equal(found, expected)
    alone = torch.tensor(states[:, :1])
    np.testing.assert_array_equal(last_token(alone, torch.tensor(mask)).numpy(), states[:, 0])


def test_values_that_are_not_finite_in_the_padding_stay_out_of_the_last_token() -> None:
    states, mask = batch()
    states[mask == 0] = np.nan
    states[3] = 1.0
    assert np.isfinite(last_token(torch.tensor(states), torch.tensor(mask)).numpy()).all()


def test_the_seed_decides_a_fresh_head_and_a_reset_gives_it_again() -> None:
    first, again, other = (head_of("roberta", seed=seed) for seed in (3, 3, 4))
    values = [[layer.kernel.numpy() for layer in head.layers] for head in (first, again, other)]
    assert all(np.array_equal(one, two) for one, two in zip(values[0], values[1], strict=True))
    assert not any(np.array_equal(one, two) for one, two in zip(values[0], values[2], strict=True))
    wide = ClassifierHead(ARCHITECTURES["roberta"].head, 200, 200, dropout=0, use_pooler=False, seed=0)
    wide.logits.build((None, 200))
    assert abs(float(wide.logits.kernel.numpy().std()) - INITIAL_SPREAD) < 1e-3
    for layer in first.layers:
        layer.kernel.assign(layer.kernel.numpy() + 1)
        layer.bias.assign(layer.bias.numpy() + 1)
    reset_head(first.layers, 3)
    assert all(np.array_equal(layer.kernel.numpy(), old) for layer, old in zip(first.layers, values[0], strict=True))
    assert not any(layer.bias.numpy().any() for layer in first.layers)


def settings(path: str, value: Any, chosen: str) -> Any:
    return resolve({"model.precision": chosen, path: value})


@pytest.mark.parametrize(
    ("path", "value", "mixed"),
    [
        *(("lora.method", "lora", False), ("lora.method", "head", False), ("lora.method", "full", True)),
        *(("lora.bias", "lora_only", True), ("lora.bias", "none", False)),
        ("lora.modules_to_save", ("feedforward_layer_norm",), True),
    ],
)
def test_what_is_trained_in_full_has_float32_weights(path: str, value: Any, mixed: bool) -> None:
    for chosen in ("bfloat16", "float16"):
        assert backbone_dtype(settings(path, value, chosen)) == (f"mixed_{chosen}" if mixed else chosen)
    assert backbone_dtype(settings(path, value, "float32")) == "float32"


@pytest.mark.parametrize("computes", [True, False])
def test_auto_takes_bfloat16_where_the_hardware_computes_in_it(
    computes: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "cpu_computes_bfloat16", lambda cpu: computes)
    assert resolve_precision("auto") == ("bfloat16" if computes else "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not computes)
    assert resolve_precision("auto") == ("float32" if computes else "bfloat16"), "a GPU alone decides"
    assert [resolve_precision(name) for name in ("float32", "float16")] == ["float32", "float16"]
