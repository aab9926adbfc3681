"""Llama, Qwen, Gemma, Mistral, SmolLM and Phi: tiny random folders through KerasHub, as transformers computes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tokenizers
import torch
import transformers

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.config import resolve
from kerora.errors import PresetError
from kerora.lora.inject import enable_lora, lora_layers, merge_lora, unmerge_lora
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.models.decoder_tokenizers import LLAMA_SPLIT
from kerora.models.generation import TextGenerator
from kerora.models.presets import find_preset
from kerora.runs.open import load
from kerora.settings.language import Sampling
from kerora.training.fit import fit
from tests.models.test_tokenizer import NASTY
from tests.tiny import WORDS
from tests.tiny_decoders import MODELS, sentencepiece_model, tiny_decoder
from tests.tiny_huggingface import corpus

keras_hub = import_keras_hub()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny_decoder(kind, tmp_path_factory.mktemp(kind) / f"tiny_{kind}") for kind in MODELS}


def theirs(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def batch() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    mask = (np.arange(16) < np.array([16, 9])[:, None]).astype("int32")
    return {"token_ids": generator.integers(3, 300, (2, 16)) * mask, "padding_mask": mask}


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", MODELS)
def test_logits_and_documents(kind: str, folders: dict[str, Path]) -> None:
    model = CausalLM.from_preset(str(folders[kind]))
    assert model.preset.kind == kind.replace("gemma2", "gemma")
    x = batch()
    with torch.no_grad():
        wanted = theirs(folders[kind])(torch.tensor(x["token_ids"])).logits
    real = x["padding_mask"].astype(bool)
    assert wanted.std() > 0.1
    torch.testing.assert_close(model.logits(x)[real], wanted[real], atol=5e-5, rtol=0)
    one = {name: array[:1] for name, array in x.items()}
    together = model.logits({**one, "document_ids": np.array([[0] * 6 + [1] * 10])})
    alone = model.logits({name: array[:, 6:] for name, array in one.items()})
    torch.testing.assert_close(together[:, 6:], alone, atol=5e-5, rtol=0)


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", MODELS)
def test_greedy_generation(kind: str, folders: dict[str, Path]) -> None:
    prompts = [[1, 20, 30], [1, 50, 51, 52, 53, 54]]
    model = theirs(folders[kind])
    for prompt, row in zip(
        prompts,
        TextGenerator(CausalLM.from_preset(str(folders[kind]))).generate(prompts, Sampling(max_tokens=12)),
        strict=True,
    ):
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)[0]
        wanted = out[len(prompt) :].tolist()
        assert row.ids == (wanted[: wanted.index(2)] if 2 in wanted else wanted)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), ("query", "value"), ("mlp.down_proj",)])
def test_targets(kind: str, targets: tuple[str, ...], folders: dict[str, Path]) -> None:
    summary = enable_lora(CausalLM.from_preset(str(folders[kind])), rank=2, targets=targets)
    assert len(set(summary.layers)) == len(summary.layers) == 2 * len(targets)


@pytest.mark.parametrize("kind", ["llama3", "mistral", "qwen", "gemma", "smollm3"])
def test_fit_and_load(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    text = "\n".join(" ".join(WORDS[(at + step) % 40] for step in range(10)) for at in range(150))
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    config = resolve(
        {
            "task": "causal-lm",
            "run": "run",
            "runs_dir": str(tmp_path),
            "data.source": str(tmp_path / "book.txt"),
            "model.preset": str(folders[kind]),
            "model.max_length": 32,
            "model.precision": "float32",
            "lora.targets": "all-linear",
            "language.samples": 1,
            "training.max_steps": 25,
            "training.batch_size": 8,
            "training.learning_rate": 0.01,
        }
    )
    result = fit(config)
    before, after = (result.metrics[when]["validation"]["loss"] for when in ("before", "after"))
    assert after < before - 0.3
    assert load(result.run.path).token_table is not None


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", ["llama3", "qwen", "gemma"])
def test_classifiers_equal_transformers(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    name, _ = MODELS[kind]
    for path in folders[kind].glob("tokenizer*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = transformers.AutoConfig.from_pretrained(folders[kind], num_labels=3)
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path)
    ours = TextClassifier.from_preset(str(tmp_path))
    inputs = ours.encode(["a great movie", "the order was late again and nobody answers"])
    with torch.no_grad():
        mask = torch.tensor(inputs["padding_mask"])
        wanted = model(torch.tensor(inputs["token_ids"]), attention_mask=mask).logits.numpy()
    np.testing.assert_allclose(ours.predict(inputs, verbose=0), wanted, atol=5e-5)
    assert wanted.std() > 0.05


def test_a_kind_that_keras_hub_cannot_convert(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    with pytest.raises(PresetError, match="model_type 'phi3' is not supported"):
        find_preset(str(tmp_path))
    (tmp_path / "config.json").write_text((folders["llama3"] / "config.json").read_text())
    with pytest.raises(PresetError, match="holds no weights"):
        find_preset(str(tmp_path)).load_backbone()


@pytest.mark.parametrize("kind", ["phi3", "llama"])
def test_keras_presets_with_sentencepiece(kind: str, tmp_path: Path) -> None:
    end = "<|endoftext|>" if kind == "phi3" else "</s>"
    names = {"bos_piece": "<s>", "eos_piece": end, "unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
    model = sentencepiece_model(tmp_path / "model.spm", names)
    backbone_class, tokenizer_class = (
        getattr(keras_hub.models, f"{'Phi3' if kind == 'phi3' else 'Llama'}{part}")
        for part in ("Backbone", "Tokenizer")
    )
    sizes = {"num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 32, "intermediate_dim": 64}
    with without_tensorflow():
        backbone = backbone_class(vocabulary_size=620, **sizes)
        backbone.save_to_preset(str(tmp_path / "preset"))
        tokenizer_class(proto=str(model)).save_to_preset(str(tmp_path / "preset"))
    ours = CausalLM.from_preset(str(tmp_path / "preset"))
    assert (ours.preset.kind, ours.tokenizer.start_ids, ours.tokenizer.end_id) == (kind, (1,), 2)
    x = batch()
    wanted = backbone.token_embedding(backbone(x), reverse=True).detach()
    real = x["padding_mask"].astype(bool)
    torch.testing.assert_close(ours.logits(x)[real], wanted[real], atol=2e-5, rtol=0)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model))
    texts = ["the movie was great", "Café 東京 😀", "a  b", "don't 3.14"]
    assert ours.tokenizer.plain_ids(texts) == [reference.encode(text) for text in texts]
    assert [ours.tokenizer.decode(ids) for ids in ours.tokenizer.plain_ids(texts)] == texts
    row = TextGenerator(ours).generate([ours.tokenizer.plain_ids(["the movie"])[0]], Sampling(max_tokens=5))[0]
    assert len(row.ids) <= 5


def test_keras_presets_of_llama_3_split_as_transformers(tmp_path: Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(LLAMA_SPLIT), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    sizes = {"num_layers": 1, "num_query_heads": 2, "num_key_value_heads": 1, "hidden_dim": 16, "intermediate_dim": 16}
    with without_tensorflow():
        keras_hub.models.Llama3Backbone(vocabulary_size=500, **sizes).save_to_preset(str(tmp_path))
        keras_hub.models.Llama3Tokenizer(vocabulary=model["vocab"], merges=merges).save_to_preset(str(tmp_path))
    ours = find_preset(str(tmp_path)).load_tokenizer()
    texts = [text for text in NASTY if "<|" not in text]
    assert ours.plain_ids(texts) == [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    assert ours.start_ids == (0,) and ours.end_id == 1


def test_kernels_in_another_order_merge_exactly(folders: dict[str, Path]) -> None:
    """Gemma keeps its query kernels as (heads, width, head size)."""
    model = CausalLM.from_preset(str(folders["gemma"]))
    base = model.logits(batch())
    enable_lora(model, rank=3, targets="all-linear", seed=1)
    generator = torch.Generator().manual_seed(0)
    for layer in lora_layers(model):
        layer.update.b.assign(torch.randn(layer.update.b.shape, generator=generator) * 0.1)
    apart = model.logits(batch())
    assert (apart - base).abs().max() > 0.1
    merge_lora(model)
    torch.testing.assert_close(model.logits(batch()), apart, atol=1e-4, rtol=0)
    unmerge_lora(model)
    assert torch.equal(model.logits(batch()), apart)


PUBLISHED: list[tuple[str, dict[str, Any]]] = [
    ("llama3", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    }}),
    ("llama3", {"tie_word_embeddings": True, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}),
    ("qwen", {"rope_theta": 1_000_000.0, "sliding_window": 6, "tie_word_embeddings": True}),
    ("qwen3", {"head_dim": 16, "rope_theta": 1_000_000.0, "tie_word_embeddings": True, "sliding_window": None}),
    ("gemma", {"head_dim": 16, "num_key_value_heads": 1, "hidden_act": "gelu_pytorch_tanh"}),
    ("gemma2", {"sliding_window": 6, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}),
    ("gemma2", {"head_dim": 16, "query_pre_attn_scalar": 8, "sliding_window": 6}),
    ("gemma3", {"sliding_window": 6, "num_hidden_layers": 7, "head_dim": 16, "query_pre_attn_scalar": 16}),
    ("gemma3", {"head_dim": 16, "query_pre_attn_scalar": 8, "num_hidden_layers": 6, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
    }}),
    ("mistral", {"sliding_window": 6, "head_dim": 16, "rope_theta": 1_000_000.0}),
    ("mistral", {"sliding_window": None}),
    ("smollm3", {"num_hidden_layers": 4, "rope_theta": 5_000_000.0}),
]  # fmt: skip


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize(("kind", "settings"), PUBLISHED, ids=range(len(PUBLISHED)))
def test_settings_of_published_models(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """On more tokens than a window holds, and token by token too."""
    folder = tiny_decoder(kind, tmp_path / "model", **settings)
    model, ids = CausalLM.from_preset(str(folder)), np.random.default_rng(0).integers(3, 300, (2, 30))
    with torch.no_grad():
        wanted = theirs(folder)(torch.tensor(ids)).logits
    x = {"token_ids": ids.astype("int32"), "padding_mask": np.ones(ids.shape, "int32")}
    torch.testing.assert_close(model.logits(x), wanted, atol=1e-4, rtol=0)
    decoder = TextGenerator(model)._decoder(2, 30)
    decoder.advance(torch.tensor(ids[:, :20]), 0)
    found = [decoder.advance(torch.tensor(ids[:, place : place + 1]), place) for place in range(20, 30)]
    torch.testing.assert_close(torch.stack(found, 1), wanted[:, 20:], atol=1e-4, rtol=0)


UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    ("llama3", {"attention_bias": True}, "attention_bias=True; it needs False"),
    ("llama3", {"mlp_bias": True}, "mlp_bias=True"),
    ("llama3", {"hidden_act": "gelu"}, "hidden_act='gelu'; it needs 'silu'"),
    ("llama3", {"head_dim": 16}, "head_dim=16; it needs hidden_size / num_attention_heads = 8"),
    ("llama3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope_type='yarn'"),
    ("qwen", {"use_sliding_window": True, "sliding_window": 6}, "use_sliding_window=True"),
    ("qwen3", {"attention_bias": True}, "attention_bias=True"),
    ("qwen3", {"use_sliding_window": True, "sliding_window": 6}, "use_sliding_window=True"),
    ("gemma", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
    ("gemma2", {"query_pre_attn_scalar": 12}, "query_pre_attn_scalar=12; it needs head_dim = 8"),
    ("gemma2", {"layer_types": ["full_attention", "sliding_attention"]}, r"layer_types\[0\]='full_attention'"),
    ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation='gelu'"),
    ("gemma3", {"attn_logit_softcapping": 2.0}, "attn_logit_softcapping=2.0"),
    ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
    ("gemma3", {"sliding_window_pattern": 4, "layer_types": None}, "sliding_window_pattern=4; it needs 6"),
    ("mistral", {"tie_word_embeddings": True}, "tie_word_embeddings=True; it needs False"),
    ("smollm3", {"mlp_bias": True}, "mlp_bias=True"),
    ("smollm3", {"use_sliding_window": True}, "use_sliding_window=True"),
]


@pytest.mark.parametrize(("kind", "settings", "message"), UNSUPPORTED, ids=range(len(UNSUPPORTED)))
def test_settings_that_would_be_computed_wrongly_are_refused(
    kind: str, settings: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    config = json.loads((folders[kind] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(PresetError, match=f"config.json: KerasHub's .* cannot express {message}"):
        find_preset(str(tmp_path))
