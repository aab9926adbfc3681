"""Builds tiny random Hugging Face folders of Llama, Qwen, Gemma, Mistral and SmolLM."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import torch

from kerora.models.decoder_tokenizers import LLAMA_SPLIT, QWEN_SPLIT, start_template
from tests.tiny_huggingface import corpus

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
HEADS = {"head_dim": 8}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama3": ("Llama", {"rms_norm_eps": 1e-3}),
    "qwen": ("Qwen2", {"rms_norm_eps": 1e-3}),
    "qwen3": ("Qwen3", HEADS),
    "gemma": ("Gemma", HEADS),
    "gemma2": ("Gemma2", {**HEADS, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3Text", {**HEADS, "query_pre_attn_scalar": 8}),
    "mistral": ("Mistral", HEADS),
    "smollm3": ("SmolLM3", {}),
}
CLASSES = {"Gemma3Text": "Gemma3ForCausalLM"}


def _train(tokenizer: tokenizers.Tokenizer, size: int, special: list[str]) -> None:
    """Let byte pairs be learnt from the corpus."""
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    options = {"vocab_size": size, "special_tokens": special, "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator(corpus(), tokenizers.trainers.BpeTrainer(**options))


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer.json with start and end token; return how many tokens it has."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    _train(tokenizer, 400, ["<pad>", "<s>", "</s>", "<unk>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return int(tokenizer.get_vocab_size())


@dataclass(frozen=True)
class Own:
    """The tokenizer that models of a kind really have.

    Attributes:
        special: the special tokens; of a SentencePiece model those of unk, bos, eos and pad by role.
        end: the token that ends a text.
        start: the token in front of a text.
        split: how text is split before byte pairs are joined; None for a SentencePiece model.
    """

    special: tuple[str, ...]
    end: str
    start: str | None = None
    split: str | None = None


_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_GEMMA = Own(("<pad>", "<eos>", "<bos>", "<unk>"), "<eos>", "<bos>")
OWN = {
    "llama3": Own(_LLAMA, "<|end_of_text|>", "<|begin_of_text|>", LLAMA_SPLIT),
    "qwen": Own(_QWEN, "<|endoftext|>", None, QWEN_SPLIT),
    "qwen3": Own(_QWEN, "<|im_end|>", None, QWEN_SPLIT),
    "smollm3": Own((*_LLAMA[:2], "<think>", "</think>"), "<|end_of_text|>", None, LLAMA_SPLIT),
    "gemma": _GEMMA,
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "mistral": Own(("<unk>", "<s>", "</s>"), "</s>", "<s>"),
}


def write_own_tokenizer(own: Own, folder: Path) -> int:
    """Write tokenizer.json, or tokenizer.model, with the special tokens of a kind; return how many tokens it has."""
    names = {"bos_token": own.start, "eos_token": own.end, "add_bos_token": own.start is not None}
    names["pad_token"] = "<pad>" if "<pad>" in own.special else own.special[0]
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    if own.split is None:
        places = {name: number for number, name in enumerate(own.special)}
        roles = {"unk": "<unk>", "bos": own.start, "eos": own.end, "pad": "<pad>"}
        control: dict[str, Any] = {f"{role}_id": places.get(str(name), -1) for role, name in roles.items()}
        control |= {f"{role}_piece": name for role, name in roles.items()}
        sentencepiece_model(folder / "tokenizer.model", control | {"add_dummy_prefix": "<pad>" not in own.special})
        return PIECES
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=own.split == LLAMA_SPLIT))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(own.split), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    _train(tokenizer, 500, list(own.special))
    if own.start is not None:
        tokenizer.post_processor = start_template(tokenizer, own.start)
    tokenizer.save(str(folder / "tokenizer.json"))
    return int(tokenizer.get_vocab_size())


PIECES = 620


def sentencepiece_model(path: Path, control: dict[str, Any]) -> Path:
    """Train a byte-pair SentencePiece model with bytes for unknown characters, as Llama 2 and Gemma have."""
    with path.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus() * 3),
            model_writer=stream,
            vocab_size=PIECES,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            minloglevel=2,
            **control,
        )
    return path


def tiny_decoder(kind: str, folder: Path, own_tokenizer: bool = False, **settings: Any) -> Path:
    """Save a random language model of one of the kinds, with a small tokenizer or the one of its kind.

    Args:
        kind: such as ``llama3``.
        folder: where to; it must not exist.
        own_tokenizer: write a tokenizer as models of the kind have it.
        **settings: values of the model's config.
    """
    import transformers

    folder.mkdir(parents=True)
    name, extra = MODELS[kind]
    tokens = write_own_tokenizer(OWN[kind], folder) if own_tokenizer else write_tokenizer(folder)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": tokens}
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **ids, **extra, **settings})
    torch.manual_seed(0)
    model = getattr(transformers, CLASSES.get(name, f"{name}ForCausalLM"))(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(folder)
    return folder
