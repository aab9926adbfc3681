"""Causal attention without a mask: equal to KerasHub's masked one, and no mask is made."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kerora.backend import import_keras_hub
from kerora.fast.causal import CausalAttention, CausalDecoder, causal_attention, use_causal_kernel
from kerora.models.classifier import TextClassifier
from kerora.models.decoders import tell_documents_apart
from kerora.models.presets import find_preset

keras_hub = import_keras_hub()
Folder = Callable[..., Path]
SIZES = {"vocabulary_size": 50, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_equals_attention_with_a_triangular_mask(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 9, 3, 4, generator=generator).to(dtype) for _ in range(3))
    scores = torch.einsum("bqhd,bkhd->bhqk", query.double(), key.double()) * 0.5
    scores = scores.masked_fill(~torch.ones(9, 9).tril().bool(), -torch.inf)
    expected = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value.double())
    found = causal_attention(query, key, value, 0.5)
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def inputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    mask = np.arange(12) < np.array([12, 5])[:, None]
    return {"token_ids": generator.integers(0, 50, (2, 12)), "padding_mask": mask.astype("int32")}


def test_a_backbone_keeps_its_outputs_and_makes_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = keras_hub.models.GPT2Backbone(**SIZES, dropout=0.0, max_sequence_length=16)
    x = inputs()
    before = backbone(x).detach().numpy()
    tell_documents_apart(backbone)
    use_causal_kernel(backbone)
    for layer in backbone.transformer_layers:
        assert type(layer) is CausalDecoder and type(layer._self_attention_layer) is CausalAttention

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a mask was made")

    monkeypatch.setattr("keras_hub.src.layers.modeling.transformer_decoder.compute_causal_mask", refuse)
    real = x["padding_mask"].astype(bool)
    np.testing.assert_allclose(backbone(x).detach().numpy()[real], before[real], atol=1e-5)


def test_the_cache_of_keras_hub_still_works() -> None:
    backbone = keras_hub.models.GPT2Backbone(**SIZES, dropout=0.0, max_sequence_length=16)
    tell_documents_apart(backbone)
    use_causal_kernel(backbone)
    model = keras_hub.models.GPT2CausalLM(backbone)
    x = {name: array[:1] for name, array in inputs().items()}
    whole = model(x).detach().numpy()
    cache = torch.zeros(1, 2, 2, 12, 2, 8)
    for place in range(12):
        logits, _, cache = model.call_with_cache(torch.tensor(x["token_ids"][:, place : place + 1]), cache, place)
        np.testing.assert_allclose(logits.detach().numpy()[0, 0], whole[0, place], atol=1e-5)


def test_backbones_with_dropout_are_left_alone() -> None:
    backbone = keras_hub.models.GPT2Backbone(**SIZES, dropout=0.1, max_sequence_length=16)
    tell_documents_apart(backbone)
    use_causal_kernel(backbone)
    layer = backbone.transformer_layers[0]
    assert type(layer).keras_class is keras_hub.layers.TransformerDecoder
    assert type(layer._self_attention_layer) is keras_hub.layers.CachedMultiHeadAttention


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_padding_changes_no_logits(dtype: str, folder: Folder) -> None:
    model = TextClassifier.from_preset(str(folder("gpt2")), dtype=dtype)
    alone = model.predict(model.encode(["a great movie"]), verbose=0)
    padded = model.predict(model.encode(["a great movie", "the order was late again " * 6]), verbose=0)
    np.testing.assert_allclose(padded[0], alone[0], atol=1e-5 if dtype == "float32" else 2e-2)


def test_a_folder_as_dialogpt_has_it(folder: Folder, tmp_path: Path) -> None:
    """Only a torch file, with the buffers and the tied output layer that old checkpoints hold."""
    source = folder("gpt2", "old")
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(source / "model.safetensors")
    for layer in range(2):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 64, 64).tril()
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    x = {"token_ids": np.arange(1, 9)[None], "padding_mask": np.ones((1, 8), "int32")}
    wanted = find_preset(str(source)).load_backbone()(x)
    assert torch.equal(find_preset(str(tmp_path)).load_backbone()(x), wanted)


def test_weight_files_stay_those_of_keras_hub(tmp_path: Path) -> None:
    backbone = keras_hub.models.GPT2Backbone(**SIZES, dropout=0.0, max_sequence_length=16)
    tell_documents_apart(backbone)
    use_causal_kernel(backbone)
    backbone.save_weights(tmp_path / "model.weights.h5")
    plain = keras_hub.models.GPT2Backbone(**SIZES, dropout=0.0, max_sequence_length=16)
    plain.load_weights(tmp_path / "model.weights.h5")
    for one, two in zip(backbone.weights, plain.weights, strict=True):
        if "seed_generator" not in one.path:
            np.testing.assert_array_equal(one, two)
