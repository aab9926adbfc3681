"""The metrics of a language model: loss, perplexity and bits per byte, over every token but the first of a text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerora.data.documents import Documents, Part
from kerora.data.language_batches import LanguageBatches
from kerora.data.language_tokens import windows
from kerora.data.tokens import TokenTable
from kerora.evaluation.metrics import language_metrics
from kerora.models.causal_lm import CausalLM
from kerora.models.generation import TextGenerator
from kerora.settings.language import Sampling

BATCH_TOKENS = 1 << 14
"""Tokens in a batch of evaluation at most: long rows come in smaller batches."""


def evaluate_documents(
    model: CausalLM, documents: Documents, batch_size: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of texts.

    Texts longer than the model's rows are read through a window that moves by `stride`, so that each token is
    predicted once, from at least ``max_length - stride`` tokens before it where there are as many.

    Args:
        model: the language model.
        documents: the texts.
        batch_size: rows in a batch; default 64.
        stride: tokens by which the window moves; None means half of the model's `max_length`.
    """
    table = model.token_table(documents)
    size = documents.counted_bytes() - _unpredicted_bytes(model, table)
    return evaluate_table(model, table, size, batch_size, stride)


def evaluate_table(
    model: CausalLM, table: TokenTable, size: int, batch_size: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of texts that are tokens already.

    Args:
        model: the language model.
        table: the tokens, with the counted ones marked.
        size: bytes of the predicted tokens.
        batch_size: rows in a batch; default 64.
        stride: see `evaluate_documents`.
    """
    rows = windows(table, model.max_length, stride or max(1, model.max_length // 2))
    rows_at_a_time = max(1, min(batch_size, BATCH_TOKENS // int(rows.lengths.max(initial=1))))
    batches = LanguageBatches(table, rows, batch_size=rows_at_a_time, pad_id=model.tokenizer.pad_id, shuffle=False)
    total, tokens = 0.0, 0
    for index in range(len(batches)):
        inputs, targets, weights = batches[index]
        losses = model.losses(inputs, targets, weights > 0)
        total += float(losses.sum(dtype=np.float64))
        tokens += len(losses)
    return language_metrics(total, tokens, size)


def _unpredicted_bytes(model: CausalLM, table: TokenTable) -> int:
    """Return the bytes of first tokens, which nothing predicts."""
    starts = table.offsets[:-1][table.lengths > 0]
    first = table.ids[starts][table.counts(starts)]
    return sum(model.tokenizer.byte_length(int(number)) for number in first)


def continue_prompts(model: CausalLM, prompts: Sequence[Sequence[Part]], tokens: int) -> list[str]:
    """Return the greedy continuations of prompts."""
    ids = [model.prompt_ids(parts) for parts in prompts]
    return [row.text for row in TextGenerator(model).generate(ids, Sampling(max_tokens=tokens))] if ids else []
