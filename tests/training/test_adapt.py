"""What the settings make trainable, counted independently; patterns and their faults."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.config import resolve
from kerora.errors import ConfigError
from kerora.lora.files import save_adapter
from kerora.lora.inject import lora_layers
from kerora.models.classifier import TextClassifier
from kerora.settings.lora import LoraConfig
from kerora.training.adapt import adapt, check_quantize, parse_pattern

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).map(str.strip).filter(bool)
HEAD = (32 * 32 + 32) + (32 * 3 + 3)


@pytest.fixture
def model(tiny_preset: Path) -> TextClassifier:
    return TextClassifier.from_preset(str(tiny_preset), ["a", "b", "c"], seed=0)


def sizes(variables: Any) -> int:
    return sum(int(np.prod(variable.shape)) for variable in variables)


@pytest.mark.parametrize(
    ("changes", "lora"),
    [
        ({}, 2 * 2 * 8 * (32 + 32)),
        ({"rank": 3, "targets": ("query",)}, 2 * 3 * (32 + 32)),
        ({"rank": 2, "targets": "all-linear"}, 2 * 2 * (4 * (32 + 32) + 2 * (32 + 64))),
        ({"layers": "last:1"}, 2 * 8 * (32 + 32)),
        ({"rank_pattern": "query=1"}, 2 * (8 + 1) * (32 + 32)),
        ({"bias": "lora_only"}, 2 * 2 * 8 * (32 + 32) + 2 * 2 * 32),
        ({"use_dora": True}, 2 * 2 * 8 * (32 + 32) + 2 * 2 * 32),
    ],
)
def test_lora_trains_the_numbers_that_its_shapes_say(model: TextClassifier, changes: dict[str, Any], lora: int) -> None:
    total = sizes(model.weights)
    summary = adapt(model, LoraConfig(**changes), seed=0)
    assert (summary.lora, summary.head) == (lora, HEAD)
    assert summary.trainable == sizes(model.trainable_variables) == lora + HEAD
    grown = lora - (2 * 2 * 32 if changes.get("bias") else 0)
    assert summary.total == sizes(model.weights) == total + grown


def test_full_and_head_train_all_and_the_head(model: TextClassifier) -> None:
    total = sizes(model.weights)
    head = adapt(model, LoraConfig(method="head"), seed=0)
    assert (head.lora, head.head, head.layers) == (0, HEAD, ())
    full = adapt(model, LoraConfig(method="full"), seed=0)
    assert full.trainable == sizes(model.trainable_variables) == full.total == total
    assert not lora_layers(model)


def test_alpha_pattern_scales_the_layers_that_match(model: TextClassifier) -> None:
    adapt(model, LoraConfig(rank=4, alpha=8.0, alpha_pattern="value=2"), seed=0)
    scales = {layer.path.split("/")[-1]: layer.update.scale for layer in lora_layers(model)}
    assert scales == {"query": 2.0, "value": 0.5}


def test_from_adapter_takes_rank_targets_and_values_of_the_adapter(
    model: TextClassifier, tiny_preset: Path, tmp_path: Path
) -> None:
    adapt(model, LoraConfig(rank=3, targets=("key",)), seed=0)
    for layer in lora_layers(model):
        layer.update.b.assign(np.random.default_rng(0).normal(size=layer.update.b.shape))
    save_adapter(model, tmp_path / "adapter", {})
    other = TextClassifier.from_preset(str(tiny_preset), ["a", "b", "c"], seed=1)
    summary = adapt(other, LoraConfig(rank=8, from_adapter=str(tmp_path / "adapter")), seed=1)
    assert summary.lora == 2 * 3 * (32 + 32) and all(path.endswith("key") for path in summary.layers)
    texts = ["the movie was great", "boring", "[MASK] late!"]
    np.testing.assert_array_equal(model.predict_logits(texts), other.predict_logits(texts))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(NAMES, st.integers(-(10**9), 10**9), max_size=4))
def test_patterns_are_read_back(values: dict[str, int]) -> None:
    assert parse_pattern("rank-pattern", [f" {name} = {number}" for name, number in values.items()], int) == values


@settings(max_examples=30, deadline=None, derandomize=True)
@given(NAMES, st.floats(allow_nan=False, allow_infinity=False))
def test_alphas_are_read_to_the_bit(name: str, number: float) -> None:
    assert parse_pattern("alpha-pattern", [f"{name}={number!r}"], float) == {name: number}


@pytest.mark.parametrize("text", ["query", "query=", "=8", " =8", "query=a", "query=1.5", "", "="])
def test_other_patterns_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_pattern("rank-pattern", ["key=4", text], int)
    assert str(caught.value) == f"--rank-pattern needs NAME=NUMBER, for example query=16. Received: {text!r}"


@pytest.mark.parametrize(
    "changes", [{"lora.method": "full"}, {"lora.bias": "all"}, {"lora.modules_to_save": "transformer_layer_1"}]
)
def test_what_is_quantised_cannot_be_trained(changes: dict[str, Any]) -> None:
    check_quantize(resolve(changes))
    with pytest.raises(ConfigError) as caught:
        check_quantize(resolve(changes, {"model.quantize": "int8"}))
    expected = "--quantize freezes the base. Leave out --method full, --bias all and --modules-to-save."
    assert str(caught.value) == expected
