"""Augmentation: a function of seed, epoch and row; special tokens stay; training rows alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.augment import Augmenter, words_per_row
from kerora.data.batches import Batches
from kerora.data.tokens import TokenTable

# 0 padding, 1 start, 2 end, 3 mask, 4 and 5 marks; then words, of which odd numbers continue the word before
SPECIAL = np.isin(np.arange(60), [0, 1, 2, 3])
STARTS = (np.arange(60) % 2 == 0) | (np.arange(60) < 6)
METHODS = ("mask", "cutoff", "aeda", "swap")


def augmenter(method: str, share: float = 0.3, seed: int = 0) -> Augmenter:
    return Augmenter(method, share, seed, SPECIAL, STARTS, mask_id=3, marks=(4, 5))


def table(rows: list[list[int]], pairs: bool = False, limit: int | None = 32) -> TokenTable:
    framed = [[1, *row, 2, *row[::-1], 2] if pairs else [1, *row, 2] for row in rows]
    segments = [[0] * (len(row) + 2) + [1] * (len(row) + 1) for row in rows] if pairs else None
    offsets = np.cumsum([0, *map(len, framed)])
    kinds = None if segments is None else np.array([kind for row in segments for kind in row], np.uint8)
    return TokenTable(np.array([token for row in framed for token in row], np.int32), offsets, kinds, limit)


ROWS = [[6, 8, 9, 10, 12, 13, 14, 16], [20, 21, 22], [30], []]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pairs", [False, True])
def test_a_row_depends_on_seed_epoch_and_row_alone(method: str, pairs: bool) -> None:
    every, augment = table(ROWS, pairs), augmenter(method)
    whole = augment.table(every, np.arange(4), 3)
    for row in (2, 0, 3, 1):
        alone = augment.table(every, np.array([row]), 3)
        np.testing.assert_array_equal(alone.ids, whole.row(row))
        if pairs:
            assert alone.segments is not None and len(alone.segments) == len(alone.ids)
    others = [augment.table(every, np.arange(4), epoch).ids.tolist() for epoch in range(4)]
    assert len(set(map(tuple, others))) > 1
    assert augmenter(method, seed=1).table(every, np.arange(4), 3).ids.tolist() != whole.ids.tolist()


@given(
    st.lists(st.lists(st.integers(6, 59), max_size=15), min_size=1, max_size=4),
    st.sampled_from(METHODS),
    st.booleans(),
    st.floats(0.01, 0.99),
)
@settings(max_examples=150, deadline=None)
def test_special_tokens_stay_and_no_text_becomes_empty(
    rows: list[list[int]], method: str, pairs: bool, share: float
) -> None:
    every = table(rows, pairs)
    found = augmenter(method, share).table(every, np.arange(len(rows)), 0)
    for number, row in enumerate(rows):
        old, new = every.row(number).tolist(), found.row(number).tolist()
        assert [token for token in new if token in (1, 2)] == [token for token in old if token in (1, 2)]
        assert len(new) <= max(32, len(old)) and (not row or len(new) > (3 if pairs else 2) - 1)
        plain = [token for token in new if token > 5]
        if method == "swap":
            assert Counter(new) == Counter(old)
        elif method == "aeda":
            assert plain == [token for token in old if token > 5]
        elif method == "mask":
            assert len(new) == len(old) and all(now in (before, 3) for now, before in zip(new, old, strict=True))
        else:
            assert len(old) - len(new) <= round(share * len(row)) * (2 if pairs else 1) + 1


def test_words_move_as_a_whole_and_marks_stand_between_words() -> None:
    row = [6, 7, 8, 9, 10, 11]  # three words of two tokens
    swapped = augmenter("swap", 0.5).table(table([row]), np.array([0]), 0).row(0).tolist()[1:-1]
    words = [swapped[place : place + 2] for place in (0, 2, 4)]
    assert sorted(words) == [[6, 7], [8, 9], [10, 11]] and swapped != row
    marked = augmenter("aeda", 0.9).table(table([row]), np.array([0]), 0).row(0).tolist()[1:-1]
    assert [token for token in marked if token > 5] == row
    assert marked[:2] == [6, 7] and marked[2] in (4, 5) and marked[3:5] == [8, 9] and marked[5] in (4, 5)


def test_a_row_at_the_limit_gets_no_more_marks_than_fit() -> None:
    row = list(range(6, 26, 2))
    full = augmenter("aeda", 0.9).table(table([row], limit=12), np.array([0]), 0)
    assert full.ids.tolist() == [1, *row, 2]
    assert len(augmenter("aeda", 0.9).table(table([row], limit=14), np.array([0]), 0).ids) == 14


def test_batches_change_in_each_epoch_and_resume_in_the_middle() -> None:
    every = table([list(range(6, 20))] * 12)

    def served(epoch: int, start: int = 0) -> list[np.ndarray]:
        batches = Batches(every, np.zeros(12), batch_size=4, seed=3)
        batches.augmenter = augmenter("swap", seed=3)
        batches.move_to(epoch, start)
        return [batches[index][0]["token_ids"] for index in range(len(batches))]

    first, again, later = served(1), served(1), served(2)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(first, later, strict=True))
    np.testing.assert_array_equal(served(1, 2)[0], first[2])


def test_words_are_counted_without_special_tokens() -> None:
    assert words_per_row(table(ROWS), augmenter("swap")).tolist() == [6, 2, 1, 0]
