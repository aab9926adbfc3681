"""The token cache: equal to tokenizing, keyed by what matters, safe against damage."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from kerora.data import tokens
from kerora.data.rows import Rows
from kerora.data.tokens import TokenTable, cache_directory, cached_table, cached_tokens, tokenize


class LetterTokenizer:
    """One id a letter; counts its calls."""

    fingerprint = "letters-1"
    uses_segments = True

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int) -> TokenTable:
        self.calls += 1
        rows = [[ord(letter) for letter in text][:max_length] for text in texts]
        offsets = np.cumsum([0, *(len(row) for row in rows)])
        flat = np.array([number for row in rows for number in row], np.int32)
        return TokenTable(flat, offsets.astype(np.int64), (flat % 2).astype(np.uint8))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERORA_CACHE", str(tmp_path / "cache"))


def rows(count: int = 5) -> Rows:
    return Rows([f"row {number} é" * (number + 1) for number in range(count)], [str(n) for n in range(count)])


def assert_equal(one: TokenTable, two: TokenTable) -> None:
    assert np.array_equal(one.ids, two.ids) and np.array_equal(one.offsets, two.offsets)
    assert one.segments is not None and two.segments is not None and np.array_equal(one.segments, two.segments)


def test_cache_equals_tokenizing_and_is_read_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "CHUNK_ROWS", 2)  # so that five rows take three chunks
    tokenizer = LetterTokenizer()
    first = cached_tokens(rows(), tokenizer, 20)
    calls = tokenizer.calls
    second = cached_tokens(rows(), tokenizer, 20)
    assert calls == 3 == tokenizer.calls
    assert isinstance(second.ids, np.memmap)
    expected = tokenize(rows(), tokenizer, 20)
    assert_equal(first, expected)
    assert_equal(second, expected)


def test_key_covers_rows_length_and_tokenizer() -> None:
    tokenizer = LetterTokenizer()
    cached_tokens(rows(), tokenizer, 20)
    cached_tokens(rows(4), tokenizer, 20)
    cached_tokens(rows(), tokenizer, 21)
    tokenizer.fingerprint = "letters-2"
    cached_tokens(rows(), tokenizer, 20)
    assert tokenizer.calls == 4


@pytest.mark.parametrize("damage", ["truncate ids", "remove entry", "bad json", "short offsets"])
def test_damaged_entry_is_made_again(damage: str) -> None:
    tokenizer = LetterTokenizer()
    expected = tokenize(rows(), tokenizer, 20)
    cached_tokens(rows(), tokenizer, 20)
    (entry,) = (cache_directory() / "tokens").iterdir()
    if damage == "truncate ids":
        (entry / "ids.bin").write_bytes(b"\0" * 8)
    elif damage == "remove entry":
        (entry / "entry.json").unlink()
    elif damage == "bad json":
        (entry / "entry.json").write_text("{")
    else:
        (entry / "offsets.bin").write_bytes(b"\0" * 16)
    assert_equal(cached_tokens(rows(), tokenizer, 20), expected)
    assert len(list((cache_directory() / "tokens").iterdir())) == 1


def test_unwritable_cache_costs_only_speed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERORA_CACHE", str(tmp_path / "file"))
    assert_equal(cached_tokens(rows(), LetterTokenizer(), 20), tokenize(rows(), LetterTokenizer(), 20))


def test_no_rows() -> None:
    assert len(cached_tokens(rows(0), LetterTokenizer(), 20)) == 0


def test_counted_tokens_go_through_the_cache_beside_no_segments() -> None:
    marked = TokenTable(np.arange(5, dtype=np.int32), np.array([0, 2, 5]), counted=np.array([0, 1, 0, 1, 1], np.uint8))
    for _ in range(2):
        table = cached_table("key", lambda: [marked, marked], counted=True)
    assert isinstance(table.counted, np.memmap) and table.segments is None and table.max_length is None
    assert table.counts().tolist() == [False, True, False, True, True] * 2
    assert table.counts(np.array([6, 2])).tolist() == [True, False]
    assert table.counts(slice(3, 5)).all()


def test_all_tokens_count_where_none_is_marked() -> None:
    table = tokenize(rows(), LetterTokenizer(), 20)
    assert table.counts().all() and len(table.counts()) == len(table.ids)
    assert table.counts(np.array([[0, 1, 2]])).shape == (1, 3)


def test_entries_of_before_are_read_but_not_those_that_held_what_counts_as_segments() -> None:
    tokenizer = LetterTokenizer()
    cached_tokens(rows(), tokenizer, 20)
    (entry,) = (cache_directory() / "tokens").iterdir()
    facts = json.loads((entry / "entry.json").read_text())
    (entry / "entry.json").write_text(json.dumps({name: facts[name] for name in ("rows", "tokens", "segments")}))
    assert cached_tokens(rows(), tokenizer, 20).segments is not None
    assert tokenizer.calls == 1
    made = TokenTable(np.zeros(1, np.int32), np.array([0, 1]), counted=np.ones(1, np.uint8))
    assert len(cached_table(entry.name, lambda: [made], counted=True).ids) == 1
