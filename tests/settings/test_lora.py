"""The settings of LoRA: ranges at their edges, and that each one reaches the update that it is about."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.errors import ConfigError
from kerora.lora.inject import lora_layers
from kerora.models.classifier import TextClassifier
from kerora.settings.lora import ADAPTER_DTYPES, BIASES, INITS, METHODS, LoraConfig
from kerora.training.adapt import adapt


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "'rank' must be 1 or more. Received: 0"),
        ({"alpha": 0}, "'alpha' must be greater than 0. Received: 0.0"),
        ({"alpha": -1e-9}, "'alpha' must be greater than 0"),
        ({"dropout": 1.0}, "'dropout' must be at least 0 and less than 1. Received: 1.0"),
        ({"dropout": -0.1}, "'dropout' must be at least 0"),
        ({"loraplus_lr_ratio": 0.99}, "'loraplus_lr_ratio' must be 1 or more. Received: 0.99"),
        ({"method": "dora"}, "'method' must be one of lora, full, head. Received: 'dora'"),
        ({"bias": "some"}, "'bias' must be one of none, lora_only, all. Received: 'some'"),
        ({"init": "zero"}, "'init' must be one of default, pissa. Received: 'zero'"),
        ({"adapter_dtype": "bfloat16"}, "'adapter_dtype' must be one of float32, float16. Received: 'bfloat16'"),
        ({"use_dora": "yes"}, "'use_dora' must be true or false. Received: 'yes'"),
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LoraConfig(**changes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [("method", METHODS), ("bias", BIASES), ("init", INITS), ("adapter_dtype", ADAPTER_DTYPES)],
)
def test_all_choices_are_taken_and_the_first_is_the_default(name: str, values: tuple[str, ...]) -> None:
    assert [getattr(LoraConfig(**{name: value}), name) for value in values] == list(values)
    assert getattr(LoraConfig(), name) == values[0]


def test_edges_are_inside() -> None:
    found = LoraConfig(rank=1, alpha="1e-300", dropout=0, loraplus_lr_ratio=1)  # type: ignore[arg-type]
    assert (found.rank, found.alpha, found.dropout, found.loraplus_lr_ratio) == (1, 1e-300, 0.0, 1.0)


def test_targets_and_patterns_by_commas() -> None:
    found = LoraConfig(targets="query, */value,,", rank_pattern="query=4,value=2")  # type: ignore[arg-type]
    assert found.targets == ("query", "*/value") and found.rank_pattern == ("query=4", "value=2")


@pytest.fixture
def model(tiny_preset: Path) -> TextClassifier:
    return TextClassifier.from_preset(str(tiny_preset), ["a", "b"], seed=0)


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 16 / 8),
        ({"rank": 2, "alpha": 3.0}, 3 / 2),
        ({"rank": 9, "alpha": 3.0, "use_rslora": True}, 3 / np.sqrt(9)),
        ({"rank": 4, "alpha_pattern": "query=1,value=1"}, 1 / 4),
    ],
)
def test_the_scale_is_that_of_the_settings(model: TextClassifier, changes: dict[str, Any], scale: float) -> None:
    adapt(model, LoraConfig(**changes), seed=0)
    assert [layer.update.scale for layer in lora_layers(model)] == pytest.approx([scale] * 4)
    assert {layer.update.dropout for layer in lora_layers(model)} == {0.05}


@pytest.mark.parametrize("changes", [{}, {"init": "pissa"}, {"use_dora": True}, {"use_rslora": True}])
def test_a_fresh_update_changes_no_logit(model: TextClassifier, changes: dict[str, Any]) -> None:
    texts = ["the movie was great", "boring", "a terrible ending and a late parcel"]
    before = model.predict_logits(texts)
    adapt(model, LoraConfig(**changes), seed=0)
    # the layers with an update compute their product in another order
    np.testing.assert_allclose(model.predict_logits(texts), before, rtol=0, atol=2e-5 if changes else 1e-7)
    for layer in lora_layers(model):
        assert layer.update.b.numpy().any() == (changes.get("init") == "pissa")


def test_pissa_takes_the_largest_singular_directions_of_the_kernel(model: TextClassifier, tiny_preset: Path) -> None:
    plain = TextClassifier.from_preset(str(tiny_preset), ["a", "b"], seed=0)
    adapt(plain, LoraConfig(rank=3), seed=0)
    adapt(model, LoraConfig(rank=3, init="pissa", alpha=3.0), seed=0)
    for before, after in zip(lora_layers(plain), lora_layers(model), strict=True):
        kernel = before.kernel.numpy().astype(np.float64).reshape(32, 32)
        left, values, right = np.linalg.svd(kernel)
        wanted = (left[:, :3] * values[:3]) @ right[:3]
        found = after.update.a.numpy().astype(np.float64) @ after.update.b.numpy()
        np.testing.assert_allclose(found, wanted, atol=2e-5)
