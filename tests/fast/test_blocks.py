"""Whole blocks against Keras' layers: outputs, gradients, pruned or not, and when Keras computes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.fast import blocks, causal
from kerora.fast.blocks import pooled_only
from kerora.lora.inject import enable_lora
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier

pytest.importorskip("transformers")

KINDS = ["bert", "distil_bert", "roberta", "xlm_roberta", "electra", "albert", "gpt2"]
TEXTS = ["the movie was great", "a boring plot and a terrible ending that nobody will love", "bad"]
CLASSES = ["negative", "neutral", "positive"]


def adapted(folder: Path, dtype: str = "float32", **options: Any) -> TextClassifier:
    model = TextClassifier.from_preset(str(folder), CLASSES, max_length=32, dtype=dtype, head_dropout=0.0)
    enable_lora(model, rank=2, dropout=0.0, targets="all-linear", **options)
    generator = torch.Generator().manual_seed(0)
    for variable in model.trainable_variables:  # B is not zero, as after some training
        variable.assign(torch.randn(variable.shape, generator=generator) * 0.1)
    return model


def computed(model: Any, training: bool = True) -> list[np.ndarray]:
    """Return the logits and all gradients of their weighted sum."""
    logits = model(model.encode(TEXTS), training=training)
    weights = torch.linspace(-1, 1, logits.numel()).view(logits.shape)
    variables = [variable.value for variable in model.trainable_variables]
    gradients = torch.autograd.grad((logits * weights).sum(), variables, allow_unused=True)
    found = [logits, *(gradient for gradient in gradients if gradient is not None)]
    return [tensor.detach().float().numpy() for tensor in found]


def by_keras(monkeypatch: pytest.MonkeyPatch, compute: Callable[[], Any]) -> Any:
    with monkeypatch.context() as patch:
        for module in (blocks, causal):
            patch.setattr(module, "frozen_parts", lambda *arguments: None)
        return compute()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_keras_layers(kind: str, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(folder(kind))
    expected = by_keras(monkeypatch, lambda: computed(model))
    whole: list[Any] = []
    for name in ("frozen_products", "frozen_feed_forward"):
        original = getattr(blocks, name)
        monkeypatch.setattr(blocks, name, lambda *given, call=original: whole.append(given) or call(*given))
    found = computed(model)
    # three a block, and the query of the last one apart; ALBERT's four blocks run twice, and none is the last
    assert len(whole) == (24 if kind == "albert" else 7)
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5, rtol=2e-4)


def test_an_activation_that_is_not_known_is_called(
    folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(folder("bert"))
    for block in model.backbone.transformer_layers:
        block._feedforward_intermediate_dense.activation = keras.activations.tanh
    expected = by_keras(monkeypatch, lambda: computed(model))
    for left, right in zip(computed(model), expected, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-5, rtol=2e-4)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_equal_to_keras_layers_in_bfloat16(
    kind: str, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = computed(adapted(folder(kind)))[0]
    model = adapted(folder(kind), "bfloat16")
    errors = [
        np.abs(side[0] - exact).max() for side in (computed(model), by_keras(monkeypatch, lambda: computed(model)))
    ]
    assert errors[0] < 2 * errors[1] + 1e-2  # rounded as often, not the same way


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
def test_the_last_block_computes_one_token(kind: str, folder: Callable[..., Path]) -> None:
    model = adapted(folder(kind))
    inputs = {name: torch.as_tensor(value) for name, value in model.encode(TEXTS).items()}

    def sequence() -> torch.Tensor:
        outputs = model.backbone(inputs)
        return outputs["sequence_output"] if isinstance(outputs, dict) else outputs

    with torch.no_grad():
        every = sequence()
        with pooled_only(model.backbone):
            one = sequence()
        again = sequence()
    assert every.shape[1] == inputs["token_ids"].shape[1] and again.shape == every.shape
    assert one.shape == (len(TEXTS), 1, every.shape[2])
    last = inputs["padding_mask"].sum(dim=1) - 1 if kind == "gpt2" else torch.zeros(len(TEXTS), dtype=torch.int64)
    torch.testing.assert_close(one[:, 0], every[torch.arange(len(TEXTS)), last], atol=1e-5, rtol=1e-5)


def test_an_error_inside_leaves_all_tokens_wanted(folder: Callable[..., Path]) -> None:
    model = adapted(folder("bert"))
    with pytest.raises(RuntimeError), pooled_only(model.backbone):
        raise RuntimeError
    assert not model.backbone.pooling.only


@pytest.mark.parametrize("options", [{"bias": "all"}, {"use_dora": True}])
def test_other_training_is_left_to_keras(options: dict[str, Any], folder: Callable[..., Path]) -> None:
    model = adapted(folder("bert"), **options)
    block = model.backbone.transformer_layers[0]
    assert blocks.frozen_parts(block, torch.zeros(1, 4, block._feedforward_output_dense.units), True) is None


def test_dropout_of_a_block_is_left_to_keras(folder: Callable[..., Path]) -> None:
    model = adapted(folder("bert"))
    block, inputs = model.backbone.transformer_layers[0], torch.zeros(1, 4, 32)
    assert blocks.frozen_parts(block, inputs, True) is not None
    block.dropout = 0.1
    assert blocks.frozen_parts(block, inputs, True) is None
    assert blocks.frozen_parts(block, inputs, False) is not None
    assert blocks.frozen_parts(block, keras.Input((4, 32)), False) is None


@pytest.mark.parametrize("separate", [False, True])
def test_language_models(separate: bool, folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalLM.from_preset(str(folder("gpt2")), max_length=16)
    enable_lora(model, rank=2, dropout=0.0, targets=("c_attn", "c_proj"))
    ids = torch.randint(1, 50, (2, 12), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    inputs = {"token_ids": ids, "padding_mask": torch.ones_like(ids)}
    if separate:
        inputs["document_ids"] = torch.tensor([[0] * 5 + [1] * 7, [2] * 12], dtype=torch.int32)

    def logits() -> np.ndarray:
        return model.logits(inputs).numpy()

    np.testing.assert_allclose(logits(), by_keras(monkeypatch, logits), atol=1e-5)
