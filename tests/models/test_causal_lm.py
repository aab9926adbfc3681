"""The language model: what it refuses, documents in rows, and Keras' own fit."""

from pathlib import Path

import keras
import numpy as np
import pytest
import torch
import transformers

from kerora.errors import ConfigError, PresetError
from kerora.lora.inject import enable_lora
from kerora.models.causal_lm import CausalLM
from kerora.training.step import TrainStep
from tests.tiny_huggingface import tiny_huggingface


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_huggingface("gpt2", tmp_path_factory.mktemp("gpt2") / "tiny_gpt2", task="LMHeadModel")


def rows(seed: int = 0, lengths: tuple[int, ...] = (12, 7)) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype("int32")
    return {"token_ids": generator.integers(1, 300, mask.shape) * mask, "padding_mask": mask}


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_equal_transformers(dtype: str, gpt2: Path) -> None:
    x = rows()
    theirs = transformers.GPT2LMHeadModel.from_pretrained(gpt2, dtype=getattr(torch, dtype)).eval()
    with torch.no_grad():
        wanted = theirs(torch.tensor(x["token_ids"]), attention_mask=torch.tensor(x["padding_mask"])).logits.float()
    found = CausalLM.from_preset(str(gpt2), dtype=dtype).logits(x)
    real = x["padding_mask"].astype(bool)
    torch.testing.assert_close(found[real], wanted[real], atol=2e-5 if dtype == "float32" else 5e-2, rtol=0)
    assert wanted.std() > 0.1


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_documents_in_a_row_do_not_see_one_another(dtype: str, gpt2: Path) -> None:
    model = CausalLM.from_preset(str(gpt2), dtype=dtype)
    x = {name: array[:1] for name, array in rows().items()}
    together = model.logits({**x, "document_ids": np.array([[4] * 5 + [9] * 4 + [10] * 3])})
    for start, end in ((0, 5), (5, 9), (9, 12)):
        alone = model.logits({name: array[:, start:end] for name, array in x.items()})
        tolerance = 1e-5 if dtype == "float32" else 3e-2
        torch.testing.assert_close(together[:, start:end], alone, atol=tolerance, rtol=0)
    assert (together[:, 5:] - model.logits(x)[:, 5:]).abs().max() > 1e-2, "the layout must not outlive its batch"


@pytest.mark.usefixtures("side")
def test_fits_with_keras_alone(gpt2: Path) -> None:
    model = CausalLM.from_preset(str(gpt2))
    enable_lora(model, rank=4, targets="all-linear", dropout=0.0)
    x = rows(lengths=(12, 12))
    y, weights = np.roll(x["token_ids"], -1, 1), np.ones((2, 12), "float32")
    model.compile(keras.optimizers.AdamW(1e-2))
    losses = model.fit(x, y, sample_weight=weights, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.5
    model.compile(keras.optimizers.AdamW(1e-2))
    assert model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)["loss"] < losses[-1]


def test_accumulation_counts_tokens_not_rows(gpt2: Path) -> None:
    """Two unequal halves, accumulated, give the gradient of the whole."""
    x = rows(lengths=(12, 4, 9, 2))
    y = np.roll(x["token_ids"], -1, 1)
    weights = x["padding_mask"].astype("float32") * (np.arange(12) < x["padding_mask"].sum(1, keepdims=True) - 1)

    def after(parts: list[slice]) -> list[np.ndarray]:
        model = CausalLM.from_preset(str(gpt2))
        enable_lora(model, rank=2, targets=("c_attn",), dropout=0.0, seed=1)
        step = TrainStep(len(parts), accumulate=len(parts))
        model.compile(keras.optimizers.SGD(1.0), step=step)
        for part in parts:
            model.train_step(({name: torch.tensor(value[part]) for name, value in x.items()},
                              torch.tensor(y[part]), torch.tensor(weights[part])))  # fmt: skip
        return [np.array(variable) for variable in model.trainable_variables]

    for one, two in zip(after([slice(0, 4)]), after([slice(0, 1), slice(1, 4)]), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        (("c_attn",), {"query", "key", "value"}),
        (("c_proj",), {"attention_output", "feedforward_output_dense"}),
        (("attn.c_proj",), {"attention_output"}),
        (("mlp.c_proj", "c_fc"), {"feedforward_output_dense", "feedforward_intermediate_dense"}),
        (("h.1.attn.c_attn",), {"query", "key", "value"}),
    ],
)
def test_targets_as_transformers_calls_them(targets: tuple[str, ...], layers: set[str], gpt2: Path) -> None:
    summary = enable_lora(CausalLM.from_preset(str(gpt2)), rank=2, targets=targets)
    assert {path.rpartition("/")[2] for path in summary.layers} == layers
    assert len(summary.layers) == len(layers) * (1 if targets[0].startswith("h.1") else 2)
    assert summary.head == 0


def test_an_unknown_target_lists_both_spellings(gpt2: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'c_attn'.*query, value; or as transformers calls them: c_attn"):
        enable_lora(CausalLM.from_preset(str(gpt2)), rank=2, targets=("c_att",))


def test_an_encoder_is_refused(tiny_preset: Path) -> None:
    with pytest.raises(PresetError, match="is DistilBERT, an encoder: it cannot continue a text. Give a decoder"):
        CausalLM.from_preset(str(tiny_preset))


def test_a_tokenizer_without_an_end_token(tmp_path: Path) -> None:
    folder = tiny_huggingface("gpt2", tmp_path / "gpt2", task="LMHeadModel")
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"eos_token": "<|endoftext|>"', '"eos_token": "<|nothing|>"'))
    with pytest.raises(PresetError, match="has no token that ends a text. Name it as eos_token in tokenizer_config"):
        CausalLM.from_preset(str(folder))
