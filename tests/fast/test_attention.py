"""The plain attention kernel against torch's own, and when it is chosen."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.fast import attention
from kerora.fast.attention import ChosenAttention, choose_attention, plain_attention
from kerora.models.classifier import TextClassifier


def projections(dtype: torch.dtype, length: int = 9) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, length, 3, 4, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("masked", [None, "keys", "pairs"])
def test_equals_torch(dtype: torch.dtype, tolerance: float, masked: str | None) -> None:
    query, key, value = projections(dtype)
    mask = None
    if masked:
        mask = torch.ones(2, 1 if masked == "keys" else 9, 9, dtype=torch.bool)
        mask[0, :, 6:] = False
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(tensor.double().transpose(1, 2) for tensor in (query, key, value)),
        attn_mask=None if mask is None else mask[:, None],
        scale=0.5,
    )
    found = plain_attention(query, key, value, mask, 0.5)
    torch.testing.assert_close(found.double(), expected.transpose(1, 2), atol=tolerance, rtol=tolerance)


def test_rows_without_any_key_stay_finite() -> None:
    query, key, value = projections(torch.bfloat16)
    mask = torch.zeros(2, 1, 9, dtype=torch.bool)
    assert torch.isfinite(plain_attention(query, key, value, mask, 0.5)).all()


def outputs(layer: Any, inputs: Any) -> np.ndarray:
    mask = np.array([[1] * 5 + [0], [1] * 6])[:, None, :]
    with torch.no_grad():
        return layer(inputs, inputs, attention_mask=mask).float().numpy()


@pytest.mark.parametrize(
    ("dtype", "longest", "plain"), [("bfloat16", 384, True), ("float32", 384, False), ("bfloat16", 5, False)]
)
def test_chosen_by_dtype_and_length(dtype: str, longest: int, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = keras.Input((None, 8))
    layer = keras.layers.MultiHeadAttention(2, 4, dtype=dtype)
    model = keras.Model(inputs, layer(inputs, inputs))
    x = np.random.default_rng(0).normal(size=(2, 6, 8)).astype("float32")
    before = outputs(layer, x)
    choose_attention(model)
    calls = []
    monkeypatch.setattr(attention, "LONGEST_PLAIN", longest)
    monkeypatch.setattr(attention, "plain_attention", lambda *arguments: calls.append(1) or plain_attention(*arguments))
    assert isinstance(layer, keras.layers.MultiHeadAttention) and type(layer) is ChosenAttention
    np.testing.assert_allclose(outputs(layer, x), before, atol=2e-2 if plain else 0)
    assert bool(calls) == plain


def test_bfloat16_classifier_stays_near_float32(tiny_preset: Path) -> None:
    logits = []
    for dtype in ("float32", "bfloat16"):
        model = TextClassifier.from_preset(str(tiny_preset), 3, max_length=32, dtype=dtype, seed=0)
        logits.append(model.predict(model.encode(["a great movie", "the order was late " * 4]), verbose=0))
    np.testing.assert_allclose(*logits, atol=0.02)
