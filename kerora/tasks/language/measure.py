"""The metrics of a language model: loss, perplexity and bits per byte. The first token of a text is not counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
"""Maximum number of tokens in a batch of evaluation. Batches of long rows hold fewer rows."""


@dataclass(frozen=True)
class TextLosses:
    """The losses of texts.

    Attributes:
        losses: sum of the losses of the predicted tokens of each text, in nats, float64 (texts,).
        tokens: number of these tokens, int64 (texts,).
        sizes: bytes in UTF-8 of these tokens, int64 (texts,).
        by_token: cross entropy of each token of the table in nats, float32 (tokens,). NaN if it does not count. Empty
            where only the sums are known.
    """

    losses: np.ndarray
    tokens: np.ndarray
    sizes: np.ndarray
    by_token: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def metrics(self, counts: np.ndarray | int = 1) -> dict[str, Any]:
        """Return the metrics if each text counts as often as `counts` says, int64 (texts,). Default: once."""
        total, tokens, size = ((column * counts).sum() for column in (self.losses, self.tokens, self.sizes))
        return language_metrics(float(total), int(tokens), int(size))


def evaluate_documents(
    model: CausalLM, documents: Documents, batch_size: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of texts; see `document_losses`."""
    return document_losses(model, documents, batch_size, stride).metrics()


def document_losses(
    model: CausalLM, documents: Documents, batch_size: int = 64, stride: int | None = None
) -> TextLosses:
    """Return the losses of texts.

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
    found = token_losses(model, table, batch_size, stride)
    losses, tokens = _by_text(table, found)
    return TextLosses(losses, tokens, documents.counted_bytes() - _unpredicted_bytes(model, table), found)


def evaluate_table(
    model: CausalLM, table: TokenTable, size: int, batch_size: int = 64, stride: int | None = None
) -> dict[str, Any]:
    """Return the metrics of texts that are already tokenized.

    Args:
        model: the language model.
        table: the tokens, with a mark on those that count.
        size: bytes of the predicted tokens.
        batch_size: rows in a batch. Default: 64.
        stride: see `document_losses`.
    """
    losses, tokens = _by_text(table, token_losses(model, table, batch_size, stride))
    return language_metrics(float(losses.sum()), int(tokens.sum()), size)


def token_losses(model: CausalLM, table: TokenTable, batch_size: int = 64, stride: int | None = None) -> np.ndarray:
    """Return the cross entropy of each token in nats, float32 (tokens,). NaN if the token does not count.

    See `evaluate_table` for the arguments.
    """
    # half: from the second window on, a token has half a window of context at least, at twice the cost
    rows = windows(table, model.max_length, stride or max(1, model.max_length // 2))
    # a row can be longer than the budget, and there may be no rows
    rows_at_a_time = max(1, min(batch_size, BATCH_TOKENS // int(rows.lengths.max(initial=1))))
    batches = LanguageBatches(table, rows, batch_size=rows_at_a_time, pad_id=model.tokenizer.pad_id, shuffle=False)
    found = np.full(len(table.ids), np.nan, np.float32)
    for index in range(len(batches)):
        inputs, targets, weights = batches[index]
        # weight 0: padding, prompts, and tokens that an earlier window predicted
        found[batches.predicted(index)] = model.losses(inputs, targets, weights > 0)
    return found


def _by_text(table: TokenTable, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the summed loss, float64 (texts,), and the number of counted tokens, int64 (texts,), of each text."""
    places = np.flatnonzero(~np.isnan(losses))
    texts = np.repeat(np.arange(len(table)), table.lengths)[places]
    # bincount sums in float64: a float32 sum over millions of tokens would lose digits
    return np.bincount(texts, losses[places], len(table)), np.bincount(texts, minlength=len(table))


def _unpredicted_bytes(model: CausalLM, table: TokenTable) -> np.ndarray:
    """Return the bytes of the first token of each text, int64 (texts,).

    First tokens are not predicted, so bits per byte must not count their bytes.
    """
    sizes = np.zeros(len(table), np.int64)
    # an empty text has no first token: its offset is the start of the next text
    texts = np.flatnonzero(table.lengths > 0)
    # only counted tokens: counted_bytes() does not contain the bytes of a prompt
    texts = texts[table.counts(table.offsets[texts])]
    sizes[texts] = [model.tokenizer.byte_length(int(number)) for number in table.ids[table.offsets[texts]]]
    return sizes


def continue_prompts(model: CausalLM, prompts: Sequence[Sequence[Part]], tokens: int) -> list[str]:
    """Return the greedy continuations of prompts."""
    ids = [model.prompt_ids(parts) for parts in prompts]
    return [row.text for row in TextGenerator(model).generate(ids, Sampling(max_tokens=tokens))] if ids else []
