"""Compares a train step with plain matrix products: the sizes of DistilBERT-base, random weights, 32 x 128 tokens."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import torch
import transformers
from tokenizers import Tokenizer, models

import kerora
from benchmarks.speed.work import Job
from kerora.models.precision import resolve_precision
from kerora.training.step import TrainStep

ROWS, LENGTH, WARM = 32, 128, 2
LAYERS, WIDTH, INNER, RANK = 6, 768, 3072, 8
VOCABULARY = 30_522


def step(job: Job) -> dict[str, Any]:
    """Measure steps and matrix products alternately. The share is computed from the medians."""
    precision = resolve_precision("auto")
    one_step, product = _step(_random_model(job.path), precision), _product(getattr(torch, precision))
    seconds: dict[str, list[float]] = {"step": [], "product": []}
    for _ in range(WARM + job.steps):
        seconds["step"].append(_timed(one_step))
        seconds["product"].append(_timed(product))
    step_seconds, product_seconds = (statistics.median(times[WARM:]) for times in seconds.values())
    rate = 2 * ROWS * LENGTH * WIDTH * INNER / product_seconds
    return {
        "step_seconds": step_seconds,
        "gflops": step_flops() / step_seconds / 1e9,
        "machine_gflops": rate / 1e9,
        "share": step_flops() / step_seconds / rate,
        "precision": precision,
    }


def step_flops(rows: int = ROWS, length: int = LENGTH) -> int:
    """Return the number of floating-point operations that a step with frozen weights needs.

    Forward each layer's six kernels (4 width^2 + 2 width inner, 2 operations a weight and token) and the two
    products of attention (2 width length each a token); backward the same once again for the kernels, whose own
    gradients nobody needs, and twice for attention. The first layer's query, key and value need no gradient of
    their input. Updates of rank 8 add three products a side on two kernels a layer. Of the last layer the classifier
    looks at one token: keys and values of all tokens are left, and the value's update. The head is left out.
    """
    tokens = rows * length
    kernels = 4 * WIDTH * WIDTH + 2 * WIDTH * INNER
    attention = 2 * length * WIDTH
    update = 2 * WIDTH * RANK
    products = 2 * kernels + 3 * attention + 3 * 2 * update
    last = 2 * 2 * WIDTH * WIDTH + 3 * update
    return 2 * tokens * ((LAYERS - 1) * products + last - 3 * WIDTH * WIDTH)


def _product(dtype: torch.dtype) -> Callable[[], Any]:
    left = torch.randn(ROWS * LENGTH, WIDTH).to(dtype)
    right = torch.randn(WIDTH, INNER).to(dtype)
    return lambda: left @ right


def _step(folder: Path, precision: str) -> Callable[[], Any]:
    model = kerora.TextClassifier.from_preset(str(folder), 4, max_length=LENGTH, dtype=precision)
    kerora.enable_lora(model, rank=RANK, alpha=16, dropout=0.05)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-4, global_clipnorm=1.0), loss=loss, step=TrainStep(10**6))
    ids = torch.randint(5, VOCABULARY, (ROWS, LENGTH), dtype=torch.int32)
    data = ({"token_ids": ids, "padding_mask": torch.ones_like(ids)}, torch.randint(0, 4, (ROWS,)))
    return lambda: model.train_step(data)


def _random_model(folder: Path) -> Path:
    folder = folder / "distilbert-random"
    if not folder.is_dir():
        config = transformers.DistilBertConfig(vocab_size=VOCABULARY, pad_token_id=0)
        transformers.DistilBertModel(config).save_pretrained(folder)
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"piece{n}" for n in range(5, VOCABULARY))]
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]")).save(str(folder / "tokenizer.json"))
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
