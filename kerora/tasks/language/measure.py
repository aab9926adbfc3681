"""The metrics of a language model: loss, perplexity and bits per byte. The first token of a text is not counted."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
"""Maximum number of tokens in a batch of evaluation. Batches of long rows hold fewer rows."""


class Measurement(NamedTuple):
    """The metrics of texts, and the losses that they come from.

    Attributes:
        metrics: what `language_metrics` returns.
        losses: cross entropy of each token of the table in nats, float32 (tokens,). NaN if it does not count.
        size: bytes of the predicted tokens.
    """

    metrics: dict[str, Any]
    losses: np.ndarray
    size: int


def evaluate_documents(
    model: CausalLM, documents: Documents, batch_size: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of texts; see `measure_documents`."""
    return measure_documents(model, documents, batch_size, stride).metrics


def measure_documents(
    model: CausalLM, documents: Documents, batch_size: int = 64, stride: int | None = None
) -> Measurement:
    """Return the metrics of texts and the losses of their tokens.

    A text that is longer than `max_length` is read through a window that moves by `stride` tokens. Each token is
    predicted once. It has at least ``max_length - stride`` tokens of context, or all tokens before it if these are
    fewer.

    Args:
        model: the language model.
        documents: the texts.
        batch_size: rows in a batch. Default: 64.
        stride: tokens by which the window moves. None means half of the model's `max_length`.
    """
    table = model.token_table(documents)
    size = documents.counted_bytes() - _unpredicted_bytes(model, table)
    return _measure(model, table, size, batch_size, stride)


def evaluate_table(
    model: CausalLM, table: TokenTable, size: int, batch_size: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of texts that are already tokenized.

    Args:
        model: the language model.
        table: the tokens, with a mark on those that count.
        size: bytes of the predicted tokens.
        batch_size: rows in a batch. Default: 64.
        stride: see `measure_documents`.
    """
    return _measure(model, table, size, batch_size, stride).metrics


def _measure(model: CausalLM, table: TokenTable, size: int, batch_size: int, stride: int | None) -> Measurement:
    # half: from the second window on, a token has half a window of context at least, at twice the cost
    rows = windows(table, model.max_length, stride or max(1, model.max_length // 2))
    # a row can be longer than the budget, and there may be no rows
    rows_at_a_time = max(1, min(batch_size, BATCH_TOKENS // int(rows.lengths.max(initial=1))))
    batches = LanguageBatches(table, rows, batch_size=rows_at_a_time, pad_id=model.tokenizer.pad_id, shuffle=False)
    total, tokens = 0.0, 0
    by_place = np.full(len(table.ids), np.nan, np.float32)
    for index in range(len(batches)):
        inputs, targets, weights = batches[index]
        # weight 0: padding, prompts, and tokens that an earlier window predicted
        losses = model.losses(inputs, targets, weights > 0)
        # float64: a float32 sum over millions of tokens would lose digits
        total += float(losses.sum(dtype=np.float64))
        tokens += len(losses)
        by_place[batches.predicted(index)] = losses
    return Measurement(language_metrics(total, tokens, size), by_place, size)


def _unpredicted_bytes(model: CausalLM, table: TokenTable) -> int:
    """Return the bytes of the first tokens. They are not predicted, so bits per byte must not count their bytes."""
    # an empty text has no first token: its offset is the start of the next text
    starts = table.offsets[:-1][table.lengths > 0]
    # only counted tokens: counted_bytes() does not contain the bytes of a prompt
    first = table.ids[starts][table.counts(starts)]
    return sum(model.tokenizer.byte_length(int(number)) for number in first)


def continue_prompts(model: CausalLM, prompts: Sequence[Sequence[Part]], tokens: int) -> list[str]:
    """Return the greedy continuations of prompts."""
    ids = [model.prompt_ids(parts) for parts in prompts]
    return [row.text for row in TextGenerator(model).generate(ids, Sampling(max_tokens=tokens))] if ids else []
