"""Tokens of texts for language models, and the division of the tokens into rows.

One table holds the tokens of all texts end to end, and a mark for each token: whether the loss counts it. A row is a
stretch of the table, so packing needs no copy and no padding:

    texts      |aaaaaa|bb|ccccccccccc|dd|
    blocks     |aaaaaabb|cccccccc|cccdd|        cut every max_length
    docs       the same for texts; prompts and conversations are kept whole if they fit
    none       |aaaaaa| |bb| |cccccccc| |ccc| |dd|
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerora.data.documents import Documents, Part
from kerora.data.tokens import TokenTable, cache_key, cached_table
from kerora.errors import DataError

# Bounds the Python lists of ids in memory. They need many times the memory of the table.
CHUNK_DOCUMENTS = 500


class PartTokenizer(Protocol):
    """The part of a tokenizer that the texts of language models need."""

    end_id: int | None

    @property
    def fingerprint(self) -> str:
        """Text that identifies the files and the options of the tokenizer."""

    @property
    def start_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that stand before a text."""

    @property
    def chat_fingerprint(self) -> str | None:
        """Text that identifies the chat template. None if there is none."""

    def plain_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts without special tokens."""

    def conversation(self, turns: Sequence[Part], identifier: str) -> tuple[list[int], list[int]]:
        """Return the tokens of a conversation in the chat template, and for each whether the loss counts it."""


@dataclass(frozen=True)
class Stretches:
    """Rows as stretches of a table of tokens.

    Attributes:
        starts: first token of each row, int64 (rows,).
        lengths: tokens of each row, int64 (rows,).
        first_counted: first token of each row that the loss may count, int64 (rows,), or None for all tokens.
        across: whether the first token of a text is predicted from the text before it.
        cut: number of texts that lost the start of a prompt or the end of a completion, because they were too long.
    """

    starts: np.ndarray
    lengths: np.ndarray
    first_counted: np.ndarray | None = None
    across: bool = False
    cut: int = 0

    def __len__(self) -> int:
        return len(self.starts)


def document_tokens(documents: Documents, tokenizer: PartTokenizer) -> TokenTable:
    """Tokenize texts through the cache. `counted` of the table says which tokens the loss counts.

    Conversations are written by the chat template of the tokenizer, if it has one. Other texts begin with its
    `start_ids`, and an end-of-text token follows each part that `ends`.
    """
    template = tokenizer.chat_fingerprint if documents.form == "turns" else None

    def chunks() -> Iterator[TokenTable]:
        for start in range(0, len(documents), CHUNK_DOCUMENTS):
            part = slice(start, start + CHUNK_DOCUMENTS)
            if template is None:
                yield tokenize_parts(documents.parts[part], tokenizer)
            else:
                yield _tokenize_turns(documents.parts[part], documents.ids[part], tokenizer)

    # The end token belongs to the key, because it is added here and not by the tokenizer.
    more = () if template is None else (template,)
    key = cache_key("language", tokenizer.fingerprint, tokenizer.end_id, documents.fingerprint(), *more)
    return cached_table(key, chunks, counted=True)


def _tokenize_turns(
    conversations: Sequence[Sequence[Part]], identifiers: Sequence[str], tokenizer: PartTokenizer
) -> TokenTable:
    found = [tokenizer.conversation(*each) for each in zip(conversations, identifiers, strict=True)]
    offsets = np.cumsum([0, *(len(ids) for ids, _ in found)], dtype=np.int64)
    ids, counted = ([number for pair in found for number in pair[at]] for at in (0, 1))
    return TokenTable(np.array(ids, np.int32), offsets, counted=np.array(counted, np.uint8))


def check_texts(parts: Sequence[Part]) -> None:
    """Check that each part has a text, where no chat template writes the parts.

    Raises:
        DataError: a turn calls tools without a text.
    """
    wrong = next((number for number, part in enumerate(parts, 1) if part.details and not part.text), None)
    if wrong is not None:
        raise DataError(
            f"Turn {wrong} of a conversation calls tools and has no text: {parts[wrong - 1].details:.80}. Only a chat "
            "template can write it. The model has none; give one with --chat-template FILE."
        )


def tokenize_parts(documents: Sequence[Sequence[Part]], tokenizer: PartTokenizer) -> TokenTable:
    """Tokenize the parts of texts without a chat template; see `document_tokens`."""
    for parts in documents:
        check_texts(parts)
    # Each part alone, so that no token spans the border of a prompt and its completion.
    encoded = iter(tokenizer.plain_ids([part[0] for parts in documents for part in parts]))
    start, end = tokenizer.start_ids, tokenizer.end_id
    ids: list[int] = []
    counted: list[int] = []
    offsets = [0]
    for parts in documents:
        ids += start
        # The model never has to predict a start token.
        counted += [0] * len(start)
        for _, counts, ends, *_ in parts:
            part = next(encoded)
            part = [*part, end] if ends and end is not None else part
            ids += part
            counted += [int(counts)] * len(part)
        offsets.append(len(ids))
    return TokenTable(np.array(ids, np.int32), np.array(offsets, np.int64), counted=np.array(counted, np.uint8))


def lay_out(table: TokenTable, documents: Documents, pack: str, max_length: int) -> Stretches:
    """Divide the tokens into training rows.

    Args:
        table: the tokens, with marks for those that the loss counts.
        documents: the texts of the tokens.
        pack: ``blocks``, ``docs``, ``none`` or ``auto``. ``auto`` is ``blocks`` for plain texts, and else ``none``.
        max_length: longest row, in tokens.
    """
    # The start of a completion means little without its prompt, so such texts are not divided.
    whole = documents.form != "text"
    if pack == "auto":
        pack = "none" if whole else "blocks"
    if pack == "blocks" or (pack == "docs" and not whole):
        return _blocks(len(table.ids), max_length, across=pack == "blocks")
    starts, lengths, cut = _rows_of_their_own(table, max_length, whole)
    if pack == "docs":
        starts, lengths = _joined(starts, lengths, max_length)
    # A text of one token has nothing to predict.
    kept = lengths > 0
    return Stretches(starts[kept], lengths[kept], cut=cut)


def windows(table: TokenTable, max_length: int, stride: int) -> Stretches:
    """Move a window over each text, so that every token but the first is predicted once, with tokens before it.

    The window moves by `stride` tokens. In each window only the tokens count that the window before did not reach.
    Source: "Perplexity of fixed-length models" in the documentation of transformers.
    """
    # Windows must overlap by one token: the first token of a window has no token before it and cannot be predicted.
    stride = min(stride, max_length - 1)
    starts, lengths, firsts = [], [], []
    for begin, end in zip(table.offsets[:-1].tolist(), table.offsets[1:].tolist(), strict=True):
        # The first token of a text has no token before it.
        reached = begin + 1
        for start in range(begin, end, stride):
            stop = min(start + max_length, end)
            if stop > reached:
                # The row is one token shorter than the window: its last token is a target, not an input.
                starts.append(start)
                lengths.append(stop - start - 1)
                firsts.append(reached)
                reached = stop
            # Further windows would reach no new token.
            if stop == end:
                break
    return Stretches(np.array(starts, np.int64), np.array(lengths, np.int64), np.array(firsts, np.int64))


def _blocks(tokens: int, size: int, across: bool) -> Stretches:
    # The last token of the table is a target, not an input.
    starts = np.arange(0, tokens - 1, size, dtype=np.int64)
    return Stretches(starts, np.minimum(size, tokens - 1 - starts), across=across)


def _rows_of_their_own(table: TokenTable, size: int, whole: bool) -> tuple[np.ndarray, np.ndarray, int]:
    starts: list[int] = []
    lengths: list[int] = []
    cut = 0
    for begin, end in zip(table.offsets[:-1].tolist(), table.offsets[1:].tolist(), strict=True):
        if not whole:
            # Rows overlap in no input token: the last target of a row is the first input of the next row.
            places = range(begin, end - 1, size)
            starts += places
            lengths += [min(size, end - 1 - place) for place in places]
            continue
        # end - 1, because the last token is only a target.
        cut += end - 1 - begin > size
        start = begin if end - 1 - begin <= size else _start_of_what_fits(table, begin, end, size)
        starts.append(start)
        lengths.append(min(size, end - 1 - start))
    return np.array(starts, np.int64), np.array(lengths, np.int64), cut


def _start_of_what_fits(table: TokenTable, begin: int, end: int, size: int) -> int:
    """Return where a text that is too long starts: the start of its prompt is cut.

    If the completion alone is too long, its end is cut too. One token of the prompt stays, to predict the first token
    of the completion.
    """
    uncounted = np.flatnonzero(~table.counts(slice(begin, end)))
    last_prompt = begin + int(uncounted[-1]) if len(uncounted) else begin
    # The first place keeps the whole completion. If that cuts more than the prompt, the second keeps its last token.
    return min(end - 1 - size, last_prompt)


def _joined(starts: np.ndarray, lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Join neighbouring rows while they fit into `size` tokens."""
    new_starts: list[int] = []
    ends: list[int] = []
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        # A row ends one token before its text does, so the next text begins at its end + 1.
        if ends and ends[-1] + 1 == start and start + length - new_starts[-1] <= size:
            ends[-1] = start + length
        else:
            new_starts.append(start)
            ends.append(start + length)
    first = np.array(new_starts, np.int64)
    return first, np.array(ends, np.int64) - first
