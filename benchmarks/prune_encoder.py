"""Prune a BERT to a small DistilBERT, as the start of `kerora pretrain --init ... --teacher ...`.

    python benchmarks/prune_encoder.py path/to/all-MiniLM-L6-v2 --text a.txt b.csv --output pruned

The chosen layers are kept. Their feed-forward parts keep only the neurons that add most to the output on the text. The
mean of the other neurons is added to the bias (as in He et al. 2017, arXiv:1707.06168, without its regression). The
vocabulary keeps the pieces that are frequent in the text or early in the list. In BERT the list is sorted by frequency.
The output is a Hugging Face folder.
"""

import argparse
import collections
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoTokenizer, BertModel

from kerora.pretraining.corpus import Corpus
from kerora.settings.pretrain import CorpusConfig

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PROBED_DOCUMENTS, PROBED_TOKENS = 512, 128
ATTENTION = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "output.LayerNorm": "output_layer_norm",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--text", nargs="+", required=True)
    parser.add_argument("--columns", nargs="*", default=["class", "title", "description"])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--layers", nargs="+", type=int, default=[0, 3, 4, 5])
    parser.add_argument("--intermediate", type=int, default=512)
    parser.add_argument("--pieces", type=int, default=11500)
    parser.add_argument("--max-length", type=int, default=256)
    options = parser.parse_args()
    model = BertModel.from_pretrained(options.teacher).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.teacher)
    corpus = Corpus(CorpusConfig(text=tuple(options.text), columns=tuple(options.columns)))
    kept = _kept_pieces(tokenizer, (" ".join(lines) for lines in corpus), options.pieces)
    strengths = _neurons(model, tokenizer, [" ".join(lines) for lines in _spread(corpus)])
    tensors = _tensors(model, kept, options.layers, options.intermediate, options.max_length, strengths)
    _write(options, tensors, tokenizer.convert_ids_to_tokens(kept), model.config.num_attention_heads)
    print(f"{options.output}: {sum(tensor.size for tensor in tensors.values()):,} weights")


def _spread(corpus: Corpus) -> Iterator[list[str]]:
    """Yield documents at equal distances in the corpus."""
    step = max(1, corpus.survey().documents // PROBED_DOCUMENTS)
    return itertools.islice(corpus, 0, None, step)


def _kept_pieces(tokenizer: Any, texts: Iterator[str], wanted: int) -> list[int]:
    """Return the sorted ids of the kept pieces: all single characters, and the pieces with the best rank."""
    counts: collections.Counter[int] = collections.Counter()
    while group := list(itertools.islice(texts, 2000)):
        for ids in tokenizer(group, add_special_tokens=False, verbose=False)["input_ids"]:
            counts.update(ids)
    plain = [
        (piece, number)
        for piece, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if piece not in SPECIAL and not piece.startswith("[unused") and _is_plain(piece)
    ]
    single = [number for piece, number in plain if len(piece.removeprefix("##")) == 1]
    by_count = {number: rank for rank, (number, _) in enumerate(counts.most_common())}
    ranked = sorted(
        (min(by_count.get(number, len(tokenizer)), 1.3 * place), number)
        for place, (_, number) in enumerate(plain)
        if number not in set(single)
    )
    special = [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL]
    kept = sorted([*special, *single, *(number for _, number in ranked[: wanted - len(SPECIAL) - len(single)])])
    share = sum(counts[number] for number in kept) / max(1, counts.total())
    print(f"{len(kept):,} pieces, which cover {share:.1%} of the text")
    return kept


def _is_plain(piece: str) -> bool:
    return all(32 < ord(character) < 127 or character in "£€§°éñ–—’‘“”…•" for character in piece)


def _neurons(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each layer how much each neuron adds to the output, and the mean value of each neuron."""
    sums = [torch.zeros(2, layer.intermediate.dense.out_features) for layer in model.encoder.layer]
    tokens, mask = 0, torch.zeros(0)
    length = min(PROBED_TOKENS, model.config.max_position_embeddings)

    def record(number: int, values: torch.Tensor) -> None:
        seen = values[mask.bool()]
        sums[number] += torch.stack([seen.pow(2).sum(0), seen.sum(0)])

    for number, layer in enumerate(model.encoder.layer):
        layer.intermediate.register_forward_hook(lambda _, __, output, number=number: record(number, output))
    for start in range(0, len(texts), 32):
        batch = tokenizer(
            list(texts[start : start + 32]),
            padding=True,
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        mask = batch["attention_mask"]
        tokens += int(mask.sum())
        with torch.no_grad():
            model(**batch)
    found = []
    for layer, (squares, total) in zip(model.encoder.layer, sums, strict=True):
        reach = layer.output.dense.weight.detach().norm(dim=0)
        found.append((((squares / tokens).sqrt() * reach).numpy(), (total / tokens).numpy()))
    return found


def _tensors(
    model: Any,
    kept: Sequence[int],
    layers: Sequence[int],
    intermediate: int,
    length: int,
    strengths: Sequence[tuple[np.ndarray, np.ndarray]],
) -> dict[str, np.ndarray]:
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    start = "distilbert.embeddings."
    positions = weights["embeddings.position_embeddings.weight"][:length]
    tensors = {
        f"{start}word_embeddings.weight": weights["embeddings.word_embeddings.weight"][list(kept)],
        # DistilBERT has no segments, so the embedding of the first segment is added to every position
        f"{start}position_embeddings.weight": positions + weights["embeddings.token_type_embeddings.weight"][0],
    }
    for part in ("weight", "bias"):
        tensors[f"{start}LayerNorm.{part}"] = weights[f"embeddings.LayerNorm.{part}"]
    for place, layer in enumerate(layers):
        old, new = f"encoder.layer.{layer}.", f"distilbert.transformer.layer.{place}."
        for part, (source, target) in itertools.product(("weight", "bias"), ATTENTION.items()):
            tensors[f"{new}{target}.{part}"] = weights[f"{old}{source}.{part}"]
        strength, mean = strengths[layer]
        order = np.argsort(-strength, kind="stable")
        stay, gone = np.sort(order[:intermediate]), order[intermediate:]
        second = weights[f"{old}output.dense.weight"]
        tensors |= {
            f"{new}ffn.lin1.weight": weights[f"{old}intermediate.dense.weight"][stay],
            f"{new}ffn.lin1.bias": weights[f"{old}intermediate.dense.bias"][stay],
            f"{new}ffn.lin2.weight": second[:, stay],
            f"{new}ffn.lin2.bias": weights[f"{old}output.dense.bias"] + second[:, gone] @ mean[gone],
        }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def _write(options: argparse.Namespace, tensors: dict[str, np.ndarray], pieces: list[str], heads: int) -> None:
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    (output / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    (output / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}), encoding="utf-8")
    width = tensors["distilbert.embeddings.word_embeddings.weight"].shape[1]
    config = {
        "architectures": ["DistilBertModel"],
        "model_type": "distilbert",
        "vocab_size": len(pieces),
        "n_layers": len(options.layers),
        "n_heads": heads,
        "dim": width,
        "hidden_dim": tensors["distilbert.transformer.layer.0.ffn.lin1.weight"].shape[0],
        "max_position_embeddings": options.max_length,
        "activation": "gelu",
        "pad_token_id": pieces.index("[PAD]"),
    }
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
