"""Masks by their laws: whole words, never a special token, so many of them, and where a teacher's states lie."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kerora.data.tokens import TokenTable
from kerora.pretraining.masking import MaskedBatches, Vocabulary, mask_words

MASK, TOKENS = 4, 30
SPECIAL = np.arange(TOKENS) < 5
STARTS = np.arange(TOKENS) % 2 == 0
VOCABULARY = Vocabulary(MASK, STARTS, SPECIAL)
IDS = st.tuples(st.integers(1, 5), st.integers(1, 12)).flatmap(
    lambda s: arrays(np.int32, s, elements=st.integers(0, 29))
)
QUICK = settings(max_examples=120, deadline=None, derandomize=True)


def words_of(ids: np.ndarray) -> list[list[int]]:
    """The flat places of each word, found row by row, token by token."""
    words: list[list[int]] = []
    for row, numbers in enumerate(ids.tolist()):
        inside = False
        for column, number in enumerate(numbers):
            place = row * len(numbers) + column
            if number < 5:
                inside = False
                continue
            if not inside or number % 2 == 0:
                words.append([])
            words[-1].append(place)
            inside = True
    return words


@QUICK
@given(IDS, st.floats(0.01, 0.9), st.integers(0, 99))
def test_whole_words_and_no_special_token_are_masked(ids: np.ndarray, share: float, seed: int) -> None:
    before = ids.copy()
    found = mask_words(ids, VOCABULARY, share, np.random.default_rng(seed))
    words, places = words_of(ids), set(found.positions.tolist())
    chosen = [word for word in words if places & set(word)]
    assert {place for word in chosen for place in word} == places
    assert len(chosen) == (min(len(words), max(1, round(share * len(words)))) if words else 0)
    flat, new = ids.reshape(-1), found.token_ids.reshape(-1)
    assert (found.labels == flat[found.positions]).all() and (np.diff(found.positions) > 0).all()
    assert not SPECIAL[found.labels].any()
    changed = np.flatnonzero(new != flat)
    assert set(changed.tolist()) <= places
    assert (~SPECIAL[new[changed]] | (new[changed] == MASK)).all()
    assert (ids == before).all()
    assert (found.token_ids.dtype, found.positions.dtype, found.labels.dtype) == (np.int32, np.int32, np.int64)


@QUICK
@given(IDS, st.integers(0, 9))
def test_the_generator_alone_decides(ids: np.ndarray, seed: int) -> None:
    one, other = (mask_words(ids, VOCABULARY, 0.5, np.random.default_rng(seed)) for _ in range(2))
    assert (one.token_ids == other.token_ids).all() and (one.positions == other.positions).all()


def test_of_the_masked_tokens_a_tenth_stays_and_a_tenth_is_any_ordinary_token() -> None:
    ids = np.full((100, 200), 6, np.int32)
    found = mask_words(ids, VOCABULARY, 0.9, np.random.default_rng(0))
    new = found.token_ids.reshape(-1)[found.positions]
    count = len(new)
    assert count == 18_000
    # a replacement is the token itself once in 25
    expected = {MASK: 0.8, 6: 0.1 + 0.1 / 25} | {number: 0.1 / 25 for number in range(5, TOKENS) if number != 6}
    shares = np.bincount(new, minlength=TOKENS) / count
    for number, share in expected.items():
        assert abs(shares[number] - share) < 4.5 * np.sqrt(share * (1 - share) / count), number
    assert shares[[0, 1, 2, 3]].sum() == 0


def test_every_word_is_as_likely_as_another() -> None:
    ids = np.array([[0, 6, 7, 8, 1], [0, 10, 12, 13, 13], [14, 0, 15, 0, 0]], np.int32)
    words = words_of(ids)
    assert words == [[1, 2], [3], [6], [7, 8, 9], [10], [12]]
    counts = np.zeros(len(words))
    for seed in range(1500):
        places = set(mask_words(ids, VOCABULARY, 0.33, np.random.default_rng(seed)).positions.tolist())
        counts += [word[0] in places for word in words]
    assert counts.sum() == 3000 and np.abs(counts - 500).max() < 4.5 * np.sqrt(1500 / 3 * 2 / 3)


def table(rows: int = 11) -> TokenTable:
    generator = np.random.default_rng(2)
    lengths = generator.integers(3, 10, rows)
    ids = generator.integers(5, TOKENS, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids[offsets[:-1]] = 2
    return TokenTable(ids, offsets)


def batches(**options: object) -> MaskedBatches:
    return MaskedBatches(table(), VOCABULARY, 0.3, None, batch_size=4, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_resumed_epoch_has_the_masks_of_one_that_was_not_stopped(epoch: int) -> None:
    whole, resumed = batches(seed=7), batches(seed=7)
    whole.move_to(epoch)
    for start in range(3):
        resumed.move_to(epoch, start)
        for index in range(len(resumed)):
            (inputs, labels), (wanted, wanted_labels) = resumed[index], whole[start + index]
            assert inputs.keys() == wanted.keys() and (labels == wanted_labels).all()
            assert all((inputs[name] == wanted[name]).all() for name in wanted)


def test_held_out_rows_keep_their_masks_and_training_rows_do_not() -> None:
    for shuffle in (False, True):
        data = batches(shuffle=shuffle)
        first = [data[index][0]["mask_positions"].tolist() for index in range(len(data))]
        data.on_epoch_end()
        second = [data[index][0]["mask_positions"].tolist() for index in range(len(data))]
        assert (first == second) == (not shuffle)


def test_a_teacher_s_states_stand_at_their_tokens_and_nowhere_else() -> None:
    rows = table()
    teacher = np.random.default_rng(3).integers(1, 127, (len(rows.ids), 3)).astype(np.int8)
    data = MaskedBatches(rows, VOCABULARY, 0.3, teacher, batch_size=4, seed=1)
    data.move_to(2)
    first = len(data[0][0]["token_ids"])
    data.move_to(2, 1)
    order = iter(data.order[first:].tolist())
    for index in range(len(data)):
        inputs, (labels, targets) = data[index]
        assert targets.shape == (*inputs["token_ids"].shape, 3) and len(labels) == len(inputs["mask_positions"])
        for row, number in enumerate(itertools.islice(order, len(targets))):
            states = teacher[rows.offsets[number] : rows.offsets[number + 1]]
            assert (targets[row, : len(states)] == states).all() and not targets[row, len(states) :].any()
            assert inputs["padding_mask"][row].sum() == len(states)
    assert not list(order)
