"""Decoding without the layers of Keras: the logits of the layers, for every kind, layout and kind of update."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kerora.fast.decoding import FastDecoder, decoder_weights
from kerora.lora.inject import enable_lora, lora_layers, merge_lora, unmerge_lora
from kerora.lora.quantize import quantize
from kerora.models.architectures import ARCHITECTURES
from kerora.models.causal_lm import CausalLM
from kerora.models.generation import TextGenerator, _Cached
from kerora.settings.language import Sampling
from tests.tiny_decoders import MODELS, tiny_decoder

# longer than the windows, so that they matter
SETTINGS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 6},
    "gemma2": {"sliding_window": 6},
    "gemma3": {"sliding_window": 6, "num_hidden_layers": 7},
    "smollm3": {"num_hidden_layers": 4},
}
IDS = torch.tensor(np.random.default_rng(0).integers(3, 300, (3, 20)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, folder: Callable[..., Path]) -> dict[str, Path]:
    made = {kind: tiny_decoder(kind, tmp_path_factory.mktemp(kind) / kind, **SETTINGS.get(kind, {})) for kind in MODELS}
    return {**made, "gpt2": folder("gpt2")}


def stepped(model: CausalLM, laid_out: bool = False, first: int = 5) -> torch.Tensor:
    """Return the logits of the last places: a prompt at once, two tokens together, and the others one by one."""
    weights = decoder_weights(model, laid_out)
    assert weights is not None
    decoder = FastDecoder(model, weights, len(IDS), IDS.shape[1], laid_out)
    found = [decoder.advance(IDS[:, :first], 0), decoder.advance(IDS[:, first : first + 2], first)]
    found += [decoder.advance(IDS[:, place : place + 1], place) for place in range(first + 2, IDS.shape[1])]
    return torch.stack(found, 1)


def wanted(model: CausalLM, first: int = 5) -> torch.Tensor:
    places = [first - 1, *range(first + 1, IDS.shape[1])]
    inputs = {"token_ids": IDS.int().numpy(), "padding_mask": np.ones(IDS.shape, "int32")}
    return model.logits(inputs)[:, places]


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize("kind", [*MODELS, "gpt2"])
def test_logits_equal_those_of_the_layers(kind: str, laid_out: bool, folders: dict[str, Path]) -> None:
    model = CausalLM.from_preset(str(folders[kind]))
    expected = wanted(model)
    assert expected.std() > 0.05
    torch.testing.assert_close(stepped(model, laid_out), expected, atol=1e-4, rtol=0)
    # the layers read the same values through the views
    assert torch.allclose(wanted(model), expected, atol=1e-5)


def test_every_decoder_has_an_entry() -> None:
    assert all(architecture.decoding for architecture in ARCHITECTURES.values() if architecture.is_decoder)


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize("kind", ["llama3", "gemma", "gpt2"])
def test_updates_count_merged_or_not(kind: str, laid_out: bool, folders: dict[str, Path]) -> None:
    model = CausalLM.from_preset(str(folders[kind]))
    base = stepped(model, laid_out)
    enable_lora(model, rank=3, targets="all-linear", seed=1)
    generator = torch.Generator().manual_seed(0)
    for layer in lora_layers(model):
        layer.update.b.assign(torch.randn(layer.update.b.shape, generator=generator) * 0.2)
    expected = wanted(model)
    assert (expected - base).abs().max() > 0.05
    torch.testing.assert_close(stepped(model, laid_out), expected, atol=2e-4, rtol=0)
    merge_lora(model)
    torch.testing.assert_close(stepped(model, laid_out), expected, atol=2e-4, rtol=0)
    unmerge_lora(model)
    torch.testing.assert_close(wanted(model), expected, atol=2e-4, rtol=0)


def test_changed_weights_are_read_again(folders: dict[str, Path]) -> None:
    model = CausalLM.from_preset(str(folders["llama3"]))
    generator = TextGenerator(model, laid_out=True)
    prompts = [IDS[0].tolist()]
    before = generator.generate(prompts, Sampling(max_tokens=8))[0].ids
    enable_lora(model, rank=2, seed=1)
    for layer in lora_layers(model):
        layer.update.b.assign(torch.ones(layer.update.b.shape))
    after = generator.generate(prompts, Sampling(max_tokens=8))[0].ids
    assert after != before
    assert after == TextGenerator(model).generate(prompts, Sampling(max_tokens=8))[0].ids


def other_updates(model: CausalLM) -> None:
    enable_lora(model, rank=2, seed=1, use_dora=True)
    for layer in lora_layers(model):
        layer.update.b.assign(torch.ones(layer.update.b.shape) * 0.3)


@pytest.mark.parametrize("kind", ["llama3", "gpt2"])
@pytest.mark.parametrize("change", [other_updates, lambda model: quantize(model, "int8")], ids=["dora", "int8"])
def test_what_only_the_layers_compute_is_left_to_them(
    kind: str, change: Callable[[CausalLM], object], folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def continued() -> list[list[int]]:
        model = CausalLM.from_preset(str(folders[kind]))
        change(model)
        generator = TextGenerator(model)
        assert isinstance(generator._decoder(1, 8), _Cached)
        return [row.ids for row in generator.generate(IDS.tolist(), Sampling(max_tokens=6))]

    fast = continued()
    monkeypatch.setenv("KERORA_PLAIN", "1")
    assert fast == continued()


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize("kind", ["llama3", "qwen3", "gemma2", "gpt2"])
def test_low_precision_is_near_the_layers(kind: str, laid_out: bool, folders: dict[str, Path]) -> None:
    model = CausalLM.from_preset(str(folders[kind]), dtype="bfloat16")
    expected = wanted(model)
    found = stepped(model, laid_out)
    assert found.dtype == torch.float32
    # half a per cent of the largest logit, a few roundings of bfloat16
    assert (found - expected).abs().mean() < 0.02 * expected.abs().max()


def test_a_single_row_gets_the_logits_of_many(folders: dict[str, Path]) -> None:
    model = CausalLM.from_preset(str(folders["llama3"]))
    prompts = IDS.tolist()
    together = TextGenerator(model, laid_out=True).generate(prompts, Sampling(max_tokens=8))
    alone = [TextGenerator(model, laid_out=True).generate([prompt], Sampling(max_tokens=8))[0] for prompt in prompts]
    assert [row.ids for row in together] == [row.ids for row in alone]
