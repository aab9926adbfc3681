"""Packing by its laws: each token once and in order, rows within their limit, no row across documents."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.tokens import Line
from kerora.pretraining import packing
from kerora.pretraining.packing import PackedRow, pack, token_tables

FIRST, LAST, UNKNOWN = 0, 1, 2
LETTERS = "abcdefgh"


class Letters:
    """A token a letter; a letter behind another one goes on with its word, and ``?`` is unknown."""

    wrapping = (FIRST, LAST)
    word_starts = np.array([True] * (3 + len(LETTERS)) + [False] * len(LETTERS))
    special = np.arange(3 + 2 * len(LETTERS)) < 3
    uses_segments = False

    def encode_lines(self, lines: Sequence[str]) -> Iterator[Line]:
        for line in lines:
            places = [place for place, letter in enumerate(line) if letter != " "]
            ids = [self.number(line, place) for place in places]
            yield Line(line, ids, [(place, place + 1) for place in places])

    def number(self, line: str, place: int) -> int:
        if line[place] == "?":
            return UNKNOWN
        inside = place > 0 and line[place - 1] != " "
        return 3 + LETTERS.index(line[place]) + len(LETTERS) * inside


TOKENIZER = Letters()
WORDS = st.text(LETTERS, min_size=1, max_size=12) | st.just("?")
LINES = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
DOCUMENTS = st.lists(st.lists(LINES, min_size=1, max_size=5), max_size=5)
QUICK = settings(max_examples=80, deadline=None, derandomize=True)


def tokens(document: list[str]) -> list[int]:
    return [number for line in TOKENIZER.encode_lines(document) for number in line.ids]


def inner(rows: list[PackedRow]) -> list[int]:
    return [int(number) for row in rows for number in row.ids[1:-1]]


@QUICK
@given(DOCUMENTS, st.integers(4, 40), st.sampled_from([0.0, 0.5, 1.0]))
def test_each_token_is_in_one_row_and_in_its_order(documents: list[list[str]], length: int, short: float) -> None:
    """Rows of unknown tokens alone are left out: those are what may be missing."""
    rows = list(pack(documents, TOKENIZER, length, short, seed=3))
    known = [number for document in documents for number in tokens(document) if number != UNKNOWN]
    assert [number for number in inner(rows) if number != UNKNOWN] == known
    assert all(len(row.ids) <= length and row.ids[0] == FIRST and row.ids[-1] == LAST for row in rows)
    assert all((row.ids[1:-1] != UNKNOWN).any() for row in rows)
    if not any("?" in line for document in documents for line in document):
        assert inner(rows) == [number for document in documents for number in tokens(document)]


@QUICK
@given(DOCUMENTS, st.integers(4, 40))
def test_spans_point_at_the_letters(documents: list[list[str]], length: int) -> None:
    for row in pack(documents, TOKENIZER, length):
        letters = [row.text[start:stop] for start, stop in row.spans]
        assert letters == ["?" if n == UNKNOWN else LETTERS[(n - 3) % len(LETTERS)] for n in row.ids[1:-1].tolist()]
        assert row.spans.dtype == np.int64 and (np.diff(row.spans[:, 0]) > 0).all()
        assert row.text == row.text.strip(" ")


@QUICK
@given(DOCUMENTS, st.integers(4, 40))
def test_a_document_is_packed_as_if_it_were_alone(documents: list[list[str]], length: int) -> None:
    together = [(row.ids.tolist(), row.text) for row in pack(documents, TOKENIZER, length)]
    alone = [(row.ids.tolist(), row.text) for document in documents for row in pack([document], TOKENIZER, length)]
    assert together == alone


PLAIN = st.lists(st.text(LETTERS, min_size=1, max_size=12), min_size=1, max_size=12).map(" ".join)


@QUICK
@given(st.lists(PLAIN, min_size=1, max_size=5), st.integers(15, 40))
def test_words_that_fit_are_never_cut(lines: list[str], length: int) -> None:
    words = [word for row in pack([lines], TOKENIZER, length) for word in row.text.split()]
    assert words == " ".join(lines).split()


@QUICK
@given(st.lists(st.text(LETTERS, min_size=1, max_size=6), min_size=1, max_size=12), st.integers(8, 20))
def test_lines_that_fit_fill_rows_greedily(lines: list[str], length: int) -> None:
    rows, room = [[lines[0]]], length - 2 - len(lines[0])
    for line in lines[1:]:
        if len(line) > room:
            rows.append([])
            room = length - 2
        rows[-1].append(line)
        room -= len(line)
    assert [row.text for row in pack([lines], TOKENIZER, length)] == ["\n".join(row) for row in rows]


def test_a_word_longer_than_a_row_is_cut_and_goes_on_in_the_next() -> None:
    rows = list(pack([["ab " + "c" * 9]], TOKENIZER, 6))
    assert [row.text for row in rows] == ["ab", "cccc", "cccc", "c"]


def test_documents_beyond_a_group_are_packed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [[f"{LETTERS[n % 8]} bcd", "efg h"] for n in range(23)]
    whole = [row.text for row in pack(documents, TOKENIZER, 8, 0.5, seed=1)]
    monkeypatch.setattr(packing, "CHUNK_DOCUMENTS", 4)
    assert [row.text for row in pack(iter(documents), TOKENIZER, 8, 0.5, seed=1)] == whole and len(whole) >= 23


@pytest.mark.parametrize("documents", [[], [[]], [[""]], [["?", "? ?"]]])
def test_nothing_known_gives_no_row(documents: list[list[str]]) -> None:
    assert list(pack(documents, TOKENIZER, 16)) == []


@pytest.mark.parametrize(("count", "chunk"), [(0, 3), (1, 3), (3, 3), (7, 3), (9, 3), (10, 100)])
@pytest.mark.parametrize("segments", [False, True])
def test_tables_hold_the_rows(monkeypatch: pytest.MonkeyPatch, count: int, chunk: int, segments: bool) -> None:
    monkeypatch.setattr(packing, "CHUNK_ROWS", chunk)
    rows = list(pack([["a" * (1 + n % 5)] for n in range(count)], TOKENIZER, 16))
    tables = list(token_tables(iter(rows), segments, 16))
    assert [len(table) for table in tables] == [min(chunk, count - start) for start in range(0, count, chunk)]
    found = [table.row(number).tolist() for table in tables for number in range(len(table))]
    assert found == [row.ids.tolist() for row in rows]
    for table in tables:
        assert table.max_length == 16 and table.offsets.dtype == np.int64
        assert (table.segments is not None) == segments
        assert table.segments is None or (not table.segments.any() and len(table.segments) == len(table.ids))
