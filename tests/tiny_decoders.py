"""Builds tiny random Hugging Face folders of Llama, Qwen, Gemma, Mistral and SmolLM."""

import json
from pathlib import Path
from typing import Any

import tokenizers
import torch

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


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer.json with start and end token; return how many tokens it has."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>", "<unk>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return int(tokenizer.get_vocab_size())


def tiny_decoder(kind: str, folder: Path) -> Path:
    """Save a random language model of one of the kinds, with its tokenizer."""
    import transformers

    folder.mkdir(parents=True)
    name, extra = MODELS[kind]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": write_tokenizer(folder)}
    config = getattr(transformers, f"{name}Config")(**{**SIZES, **ids, **extra})
    torch.manual_seed(0)
    model = getattr(transformers, CLASSES.get(name, f"{name}ForCausalLM"))(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(folder)
    return folder
