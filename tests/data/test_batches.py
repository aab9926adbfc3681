"""Batches: what is padded, in which order, and from where."""

import numpy as np
import pytest

from kerora.data.batches import Batches, balanced_class_weights
from kerora.data.tokens import TokenTable


def table(lengths: list[int], segments: bool = False) -> TokenTable:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    return TokenTable(ids, offsets, (ids % 2).astype(np.uint8) if segments else None)


def lengths(rows: int = 500) -> list[int]:
    return np.random.default_rng(0).integers(1, 90, rows).tolist()


def rows_of(batches: Batches) -> list[int]:
    return batches.order.tolist()


def test_every_row_once_with_its_own_tokens_and_label() -> None:
    sizes = lengths()
    source = table(sizes, segments=True)
    batches = Batches(source, labels=np.arange(len(sizes)), batch_size=32, pad_id=0)
    seen = []
    for index in range(len(batches)):
        inputs, labels = batches[index]
        for place, row in enumerate(labels):
            size = sizes[row]
            span = slice(source.offsets[row], source.offsets[row + 1])
            assert inputs["token_ids"][place, :size].tolist() == source.ids[span].tolist()
            assert source.segments is not None
            assert inputs["segment_ids"][place, :size].tolist() == source.segments[span].tolist()
            assert not inputs["token_ids"][place, size:].any()
            assert inputs["padding_mask"][place].sum() == size
        seen += labels.tolist()
    assert sorted(seen) == list(range(len(sizes)))


def test_no_batch_is_padded_beyond_its_longest_row_rounded_up_to_8() -> None:
    batches = Batches(table(lengths()), batch_size=16)
    for index in range(len(batches)):
        (inputs,) = batches[index]
        width, longest = inputs["token_ids"].shape[1], inputs["padding_mask"].sum(1).max()
        assert width % 8 == 0 and longest <= width < longest + 8


def test_padding_ends_where_rows_were_cut() -> None:
    """A model with 13 positions must not see 16 columns."""
    source = table([13, 9])
    batches = Batches(TokenTable(source.ids, source.offsets, max_length=13), batch_size=2)
    assert batches[0][0]["token_ids"].shape == (2, 13)


def test_buckets_pad_far_less_than_random_order() -> None:
    sizes = np.array(lengths(4000))
    batches = Batches(table(sizes.tolist()), batch_size=32)
    padded = sum(batches[index][0]["token_ids"].size for index in range(len(batches)))
    in_random_order = sum(32 * max(sizes[start : start + 32]) for start in range(0, len(sizes), 32))
    assert padded < 1.12 * sizes.sum() < 0.65 * in_random_order


def test_order_is_a_function_of_seed_and_epoch() -> None:
    source = table(lengths())
    first, same, other = Batches(source, seed=1), Batches(source, seed=1), Batches(source, seed=2)
    assert rows_of(first) == rows_of(same) != rows_of(other)
    epoch_0 = rows_of(first)
    first.move_to(1)
    assert rows_of(first) != epoch_0
    first.move_to(0)
    assert rows_of(first) == epoch_0


def test_epoch_advances_by_itself_once_all_batches_were_served() -> None:
    batches = Batches(table(lengths(100)), batch_size=10)
    batches[0]
    batches.on_epoch_end()  # what Keras does after its symbolic build
    assert batches.epoch == 0
    for index in range(len(batches)):
        batches[index]
    batches.on_epoch_end()
    assert batches.epoch == 1


def test_a_position_inside_an_epoch_serves_the_rest_of_it() -> None:
    source = table(lengths(100))
    whole, rest = Batches(source, batch_size=10, seed=4), Batches(source, batch_size=10, seed=4)
    whole.move_to(3)
    rest.move_to(3, 6)
    assert len(rest) == 4 and rest.batches_per_epoch == 10
    for index in range(4):
        assert np.array_equal(rest[index][0]["token_ids"], whole[6 + index][0]["token_ids"])


def test_without_shuffle_rows_come_longest_first_and_epochs_stay() -> None:
    batches = Batches(table(lengths(50)), batch_size=7, shuffle=False)
    sizes = np.array(lengths(50))[batches.order]
    assert (np.diff(sizes) <= 0).all()
    for index in range(len(batches)):
        batches[index]
    batches.on_epoch_end()
    assert batches.epoch == 0


def test_tokens_served_counts_real_tokens() -> None:
    sizes = lengths(60)
    batches = Batches(table(sizes), batch_size=8)
    for index in range(len(batches)):
        batches[index]
    assert batches.tokens_served == sum(sizes)


def test_class_weights_become_row_weights() -> None:
    labels = [0, 0, 0, 1, 1, 2]
    weights = balanced_class_weights(labels, 4)
    np.testing.assert_allclose(weights, [6 / (4 * 3), 6 / (4 * 2), 6 / (4 * 1), 0.0])
    batches = Batches(table([3] * 6), labels, batch_size=4, class_weights=weights)
    _, y, w = batches[0]
    np.testing.assert_allclose(w, weights[y])


@pytest.mark.parametrize("rows", [0, 1])
def test_tiny_tables(rows: int) -> None:
    batches = Batches(table([4] * rows), batch_size=8)
    assert len(batches) == rows


def test_evaluation_goes_by_tokens() -> None:
    lengths = [3, 40, 17, 9, 25, 8, 64, 1]
    offsets = np.cumsum([0, *lengths])
    table = TokenTable(np.arange(offsets[-1], dtype=np.int32), offsets.astype(np.int64), max_length=60)
    batches = Batches(table, shuffle=False, max_tokens=80)
    shapes = [batches[index][0]["token_ids"].shape for index in range(len(batches))]
    assert all(rows * width <= 80 or rows == 1 for rows, width in shapes)
    assert sum(rows for rows, _ in shapes) == len(lengths)
    assert sorted(batches.order) == list(range(len(lengths)))
    assert [lengths[row] for row in batches.order] == sorted(lengths, reverse=True)
    assert shapes[0] == (1, 64)  # longer than the budget leaves room for, and than the table says


@pytest.mark.parametrize("counts", [[90, 7, 3], [1, 1, 98], [50, 50], [100]])
def test_balanced_epochs_hold_each_class_equally_often(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = sum(counts)
    batches = Batches(table(lengths(rows)), labels, batch_size=8, seed=3, balance_by=labels)
    plain = Batches(table(lengths(rows)), labels, batch_size=8, seed=3)
    assert batches.batches_per_epoch == plain.batches_per_epoch
    epochs = []
    for epoch in range(3):
        batches.move_to(epoch)
        order = batches.order
        epochs.append(order)
        assert len(order) == rows
        drawn = np.bincount(labels[order])
        assert drawn.max() - drawn.min() <= 1
        for kind in range(len(counts)):
            # a row is repeated only after all others of its class
            times = np.bincount(order, minlength=rows)[labels == kind]
            assert times.max() - times.min() <= 1
    if counts[0] == 90:
        assert set(epochs[0][labels[epochs[0]] == 0]) != set(epochs[1][labels[epochs[1]] == 0])


def test_a_balanced_epoch_depends_only_on_seed_and_epoch() -> None:
    labels = np.array([0] * 60 + [1] * 5)

    def order(seed: int, epoch: int) -> list[int]:
        batches = Batches(table(lengths(65)), labels, batch_size=8, seed=seed, balance_by=labels)
        batches.move_to(epoch, 2)
        return rows_of(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) and order(1, 2) != order(2, 2)


def test_without_rows_a_balanced_epoch_is_empty() -> None:
    assert rows_of(Batches(table([]), np.zeros(0, int), balance_by=np.zeros(0, int))) == []
