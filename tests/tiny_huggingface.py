"""Builds tiny random Hugging Face model folders with transformers, in the layouts found in the wild."""

import json
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import torch

KINDS = ("distil_bert", "bert", "roberta", "xlm_roberta", "deberta_v3", "albert", "electra", "gpt2")

MODELS = {
    "distil_bert": "DistilBert",
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm_roberta": "XLMRoberta",
    "deberta_v3": "DebertaV2",
    "albert": "Albert",
    "electra": "Electra",
    "gpt2": "GPT2",
}
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "distil_bert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64},
    "bert": SIZES,
    "roberta": {**SIZES, "max_position_embeddings": 66, "layer_norm_eps": 1e-5, "type_vocab_size": 1},
    "xlm_roberta": {**SIZES, "max_position_embeddings": 66, "layer_norm_eps": 1e-5, "type_vocab_size": 1},
    "deberta_v3": {
        **SIZES,
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    "albert": {**SIZES, "embedding_size": 16, "num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2},
    "electra": {**SIZES, "embedding_size": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
}
END = "<|endoftext|>"


def tiny_huggingface(
    kind: str,
    directory: Path,
    classes: list[str] | None = None,
    seed: int = 0,
    *,
    layout: str = "new",
    task: str | None = None,
    **settings: Any,
) -> Path:
    """Save a random model of one of the kinds with its tokenizer.

    Args:
        kind: such as ``bert``.
        directory: where to; made if it is missing.
        classes: names of a sequence classification head; None saves the base model alone.
        seed: seed of the weights.
        layout: ``new`` writes tokenizer.json as transformers 5 does, ``old`` only vocabulary files.
        task: transformers' task class, such as ``MaskedLM``; empty means by `classes`.
        **settings: values of the model's config.
    """
    import transformers

    directory.mkdir(parents=True, exist_ok=True)
    write_vocabulary(kind, directory)
    loaded = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    if layout == "new":
        for path in directory.iterdir():
            path.unlink()
        loaded.save_pretrained(directory)
    values = {**SETTINGS[kind], "vocab_size": len(loaded) + 3, "pad_token_id": loaded.pad_token_id, **settings}
    if kind == "gpt2":
        values |= dict.fromkeys(("bos_token_id", "eos_token_id"), loaded.eos_token_id)
    if classes:
        values["id2label"] = dict(enumerate(classes))
        values["label2id"] = {name: number for number, name in enumerate(classes)}
    config = getattr(transformers, f"{MODELS[kind]}Config")(**values)
    torch.manual_seed(seed)
    task = task or ("SequenceClassification" if classes else "")
    names = {"": f"{MODELS[kind]}Model", "LMHeadModel": f"{MODELS[kind]}LMHeadModel"}
    model = getattr(transformers, names.get(task, f"{MODELS[kind]}For{task}"))(config)
    with torch.no_grad():  # transformers starts biases at 0 and norms at 1, which would hide that they are not loaded
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(directory)
    return directory


def write_vocabulary(kind: str, directory: Path) -> None:
    """Write the vocabulary files that models of this kind had before tokenizer.json, and a config to read them by."""
    from tests.tiny import wordpiece_vocabulary

    config: dict[str, Any] = {"tokenizer_class": f"{MODELS[kind]}Tokenizer"}
    if kind in ("distil_bert", "bert", "electra"):
        (directory / "vocab.txt").write_text("\n".join(wordpiece_vocabulary()) + "\n", encoding="utf-8")
        config = {"tokenizer_class": "BertTokenizer", "do_lower_case": kind != "electra"}
    elif kind in ("roberta", "gpt2"):
        trained = tokenizers.ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if kind == "roberta" else [END]
        trained.train_from_iterator(corpus(), vocab_size=400, special_tokens=special, show_progress=False)
        trained.save_model(str(directory))
    else:
        names = {"xlm_roberta": "sentencepiece.bpe.model", "deberta_v3": "spm.model", "albert": "spiece.model"}
        train_sentencepiece(kind, directory / names[kind])
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    model_types = {"distil_bert": "distilbert", "xlm_roberta": "xlm-roberta", "deberta_v3": "deberta-v2"}
    (directory / "config.json").write_text(json.dumps({"model_type": model_types.get(kind, kind)}))


def train_sentencepiece(kind: str, path: Path) -> Path:
    """Train a Unigram model with the special tokens of the kind, and SentencePiece's own NFKC normalization."""
    special: dict[str, Any] = {
        "xlm_roberta": {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1},
        "deberta_v3": {
            **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
            **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
        },
        "albert": {
            **{"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1},
            **{"control_symbols": "[CLS],[SEP],[MASK]", "user_defined_symbols": '(,),",-,.'},
        },
    }
    with path.open("wb") as stream:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus()),
            model_writer=stream,
            vocab_size=220,
            model_type="unigram",
            character_coverage=1.0,
            minloglevel=2,
            **special[kind],
        )
    return path


def corpus() -> list[str]:
    """Sentences of common words, with every ASCII character and a few others."""
    from tests.tiny import WORDS

    lines = [" ".join(WORDS[start : start + 9]) for start in range(0, len(WORDS), 4)]
    return [
        *lines * 3,
        "".join(chr(code) + " " for code in range(33, 127)),
        "Straße café naïve Ελλάδα 東京 日本 😀 £ €",
    ]
