"""Packs documents into rows. Consecutive lines fill a row up to its limit. A row never holds two documents."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kerora.data.tokens import Line, TokenTable

CHUNK_ROWS = 2_000
CHUNK_DOCUMENTS = 500  # documents that are tokenized together: enough for all cores, few enough for memory
SHORTEST_ROW = 16


@dataclass(frozen=True)
class PackedRow:
    """A row of tokens and its text.

    Attributes:
        ids: token ids, including the special tokens at the start and the end, int32 (length,).
        text: the text.
        spans: start and end of each token in the text, in characters, int64 (length - 2, 2). The two special tokens
            have none.
    """

    ids: np.ndarray
    text: str
    spans: np.ndarray


class LineTokenizer(Protocol):
    """The part of a tokenizer that packing needs."""

    @property
    def wrapping(self) -> tuple[int, int]:
        """Ids of the special tokens at the start and the end of a row."""

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


def pack(
    documents: Iterable[list[str]],
    tokenizer: LineTokenizer,
    max_length: int,
    short_rows: float = 0.0,
    seed: int = 0,
) -> Iterator[PackedRow]:
    """Fill rows with the consecutive lines of each document.

    A line that does not fit starts a new row. A line that is longer than a row is cut before a word. Short rows follow
    the short sequences of BERT (Devlin et al. 2018, arXiv:1810.04805). The logarithm of their limits is uniform.

    Args:
        documents: lists of lines.
        tokenizer: tokenizes them.
        max_length: longest row in tokens, including special tokens.
        short_rows: fraction of the rows with a random limit between `SHORTEST_ROW` and `max_length`.
        seed: seed of the limits.
    """
    # the tokenizer is called without special tokens, because a row may hold many lines
    first, last = tokenizer.wrapping
    rooms = _rooms(max_length, short_rows, seed)
    starts, special = tokenizer.word_starts, tokenizer.special
    for group in _groups(documents):
        lines = tokenizer.encode_lines([line for document in group for line in document])
        for document in group:
            for parts in _fill([next(lines) for _ in document], rooms, starts):
                ids = [token for part in parts for token in part.ids]
                if not special[ids].all():  # a row of only unknown tokens has nothing to mask
                    yield PackedRow(np.array([first, *ids, last], np.int32), *_joined(parts))


def token_tables(rows: Iterable[PackedRow], uses_segments: bool, max_length: int) -> Iterator[TokenTable]:
    """Collect rows in tables of `CHUNK_ROWS` rows, the form in which the token cache takes them."""
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
    # row i is ids[offsets[i] : offsets[i + 1]]
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


def _rooms(max_length: int, short_rows: float, seed: int) -> Iterator[int]:
    """Yield the number of tokens of each row without its two special tokens. The iterator does not end."""
    # the second number makes the limits independent of other random choices with the same seed
    generator = np.random.default_rng((seed, 8))
    shortest = min(SHORTEST_ROW, max_length)
    while True:
        short = generator.random() < short_rows
        # with u uniform in 0 to 1, the logarithm of shortest * (longest / shortest) ** u is uniform too
        length = shortest * (max_length / shortest) ** generator.random() if short else max_length
        yield round(length) - 2


def _fill(lines: list[Line], rooms: Iterator[int], starts: np.ndarray) -> Iterator[list[Line]]:
    """Distribute lines, or parts of lines, to rows."""
    parts: list[Line] = []
    # room is 6 or more, because --max-length is 8 or more: so each step below takes at least one token
    used, room = 0, next(rooms)
    for line in lines:
        begin, count = 0, len(line.ids)
        while begin < count:
            fits = count - begin <= room - used
            if not fits and parts:  # close the row, then try the same line again in a new one
                yield parts
                parts, used, room = [], 0, next(rooms)
                continue
            # a line that is cut starts in an empty row, so the whole room is free
            end = count if fits else _cut(line.ids, begin, begin + room, starts)
            parts.append(_part(line, begin, end))
            used += end - begin
            begin = end
    if parts:
        yield parts


def _part(line: Line, begin: int, end: int) -> Line:
    """Return the tokens from `begin` to `end` with the text of only these tokens."""
    # spans count from the start of the line, but the part has a text of its own
    left = line.spans[begin][0]
    spans = [(start - left, stop - left) for start, stop in line.spans[begin:end]]
    return Line(line.text[left : line.spans[end - 1][1]], line.ids[begin:end], spans)


def _joined(parts: list[Line]) -> tuple[str, np.ndarray]:
    """Return the text of a row, with one line per part, and the span of each token in it."""
    # + 1 for the line break between two parts
    ends = np.cumsum([0, *(len(part.text) + 1 for part in parts)])
    spans = [np.array(part.spans, np.int64) + begin for part, begin in zip(parts, ends[:-1], strict=True)]
    return "\n".join(part.text for part in parts), np.concatenate(spans)


def _cut(ids: Sequence[int], begin: int, end: int, starts: np.ndarray) -> int:
    """Return the last position up to `end` at which a word starts, or `end` if a single word fills the row."""
    # ids[end] exists, because `_fill` cuts only lines that are longer than the row
    return next((place for place in range(end, begin, -1) if starts[ids[place]]), end)
