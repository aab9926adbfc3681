"""Documents into rows: consecutive lines fill a row up to its limit; no row crosses two documents."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerora.data.tokens import TokenTable

CHUNK_ROWS = 2_000
CHUNK_DOCUMENTS = 500


@dataclass(frozen=True)
class Line:
    """A tokenized line.

    Attributes:
        text: the line.
        ids: token ids without special tokens.
        spans: (start, end) of each token in the text, in characters.
    """

    text: str
    ids: Sequence[int]
    spans: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class PackedRow:
    """A row: its ids with special tokens, int32 (length,), and the text that they stand for."""

    ids: np.ndarray
    text: str


class LineTokenizer(Protocol):
    """The part of a tokenizer that packing needs."""

    @property
    def wrapping(self) -> tuple[int, int]:
        """Ids of the special tokens at a row's start and end."""

    @property
    def word_starts(self) -> np.ndarray:
        """Whether a token starts a word, bool (tokens,)."""

    @property
    def special(self) -> np.ndarray:
        """Whether a token is special, bool (tokens,)."""

    @property
    def uses_segments(self) -> bool:
        """Whether rows have segment ids."""

    def encode_lines(self, lines: Sequence[str]) -> Iterator[Line]:
        """Tokenize lines without special tokens."""


def pack(documents: Iterable[list[str]], tokenizer: LineTokenizer, max_length: int) -> Iterator[PackedRow]:
    """Fill rows with the consecutive lines of each document.

    A line that does not fit starts a row of its own; one longer than a row is cut in front of a word.

    Args:
        documents: lists of lines.
        tokenizer: tokenizes them.
        max_length: longest row in tokens, special tokens included.
    """
    first, last = tokenizer.wrapping
    starts, special = tokenizer.word_starts, tokenizer.special
    for group in _groups(documents):
        lines = tokenizer.encode_lines([line for document in group for line in document])
        for document in group:
            for ids, texts in _fill([next(lines) for _ in document], max_length - 2, starts):
                if not special[ids].all():  # in unknown tokens alone there is nothing to mask
                    yield PackedRow(np.array([first, *ids, last], np.int32), "\n".join(texts))


def token_tables(rows: Iterable[PackedRow], uses_segments: bool, max_length: int) -> Iterator[TokenTable]:
    """Gather rows in tables of `CHUNK_ROWS`, as the token cache takes them."""
    chunk: list[np.ndarray] = []
    for row in rows:
        chunk.append(row.ids)
        if len(chunk) == CHUNK_ROWS:
            yield _table(chunk, uses_segments, max_length)
            chunk = []
    if chunk:
        yield _table(chunk, uses_segments, max_length)


def _table(rows: list[np.ndarray], uses_segments: bool, max_length: int) -> TokenTable:
    ids = np.concatenate(rows)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return TokenTable(ids, offsets, np.zeros(len(ids), np.uint8) if uses_segments else None, max_length)


def _groups(documents: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    group: list[list[str]] = []
    for document in documents:
        group.append(document)
        if len(group) == CHUNK_DOCUMENTS:
            yield group
            group = []
    if group:
        yield group


def _fill(lines: list[Line], room: int, starts: np.ndarray) -> Iterator[tuple[list[int], list[str]]]:
    ids: list[int] = []
    texts: list[str] = []
    for line in lines:
        begin, count = 0, len(line.ids)
        while begin < count:
            fits = count - begin <= room - len(ids)
            if not fits and ids:
                yield ids, texts
                ids, texts = [], []
                continue
            end = count if fits else _cut(line.ids, begin, begin + room, starts)
            ids.extend(line.ids[begin:end])
            texts.append(line.text[line.spans[begin][0] : line.spans[end - 1][1]])
            begin = end
    if ids:
        yield ids, texts


def _cut(ids: Sequence[int], begin: int, end: int, starts: np.ndarray) -> int:
    """Return the last place up to `end` in front of a word; `end` where a single word fills the row."""
    return next((place for place in range(end, begin, -1) if starts[ids[place]]), end)
