import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from kerora.config import DataConfig
from kerora.data.rows import Rows
from kerora.data.splits import cut_parts, draw_by_class, take_subset
from kerora.errors import DataError


def rows(labels):
    return Rows([f"t{i}" for i in range(len(labels))], [str(i) for i in range(len(labels))], list(labels))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.data())
def test_drawing_takes_each_class_its_share(labels, data):
    labels = np.array(labels)
    count = data.draw(st.integers(1, len(labels)))
    drawn = draw_by_class(labels, count, [1])
    values, sizes = np.unique(labels, return_counts=True)
    taken = np.array([(labels[drawn] == value).sum() for value in values])
    assert len(set(drawn.tolist())) == len(drawn) == count
    assert (np.diff(drawn) > 0).all()
    assert (taken <= sizes).all()
    exact = count * sizes / len(labels)
    assert (taken >= 1).all() if count >= len(values) else taken.max() <= np.ceil(exact.max())
    if (exact >= 1).all():
        assert (np.abs(taken - exact) < 1).all()


def test_shares_agree_with_scikit_learn():
    labels = np.repeat([0, 1, 2], [500, 300, 37])
    ours = np.bincount(labels[draw_by_class(labels, 100, [3])])
    theirs = np.bincount(train_test_split(labels, train_size=100, stratify=labels, random_state=0)[0])
    assert np.abs(ours - theirs).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=60), st.floats(0.01, 0.45), st.floats(0.01, 0.45))
def test_parts_are_disjoint_complete_ordered_and_hold_every_class(labels, validation, test):
    labels = [label for label in labels if labels.count(label) >= 3] or [0, 0, 0]
    config = DataConfig(validation_split=validation, test_split=test)
    parts = cut_parts({"train": rows(labels)}, "abcd", config, 7, "f")
    assert list(parts) == ["train", "validation", "test"]
    numbers = [[int(identifier) for identifier in part.ids] for part in parts.values()]
    assert sorted(itertools.chain(*numbers)) == list(range(len(labels)))
    assert all(part == sorted(part) for part in numbers)
    assert all(set(part.targets) == set(labels) for part in parts.values())


def test_the_seed_decides():
    parts = [
        cut_parts({"train": rows([0, 1] * 50)}, "ab", DataConfig(), seed, "f")["validation"].ids for seed in (1, 1, 2)
    ]
    assert parts[0] == parts[1] != parts[2]
    assert len(parts[0]) == 10


def test_given_parts_are_kept():
    validation = rows([0, 1])
    parts = cut_parts({"train": rows([0, 1] * 10), "validation": validation}, "ab", DataConfig(), 1, "f")
    assert parts["validation"] is validation
    assert len(parts["train"]) == 20
    assert "validation" not in cut_parts({"train": rows([0, 1])}, "ab", DataConfig(validation_split=0), 1, "f")


def test_a_class_of_one_row_cannot_be_split():
    with pytest.raises(DataError, match=r"f: class 'b' has 1 row, too few .*--validation, or set --validation-split 0"):
        cut_parts({"train": rows([0, 0, 0, 1])}, "ab", DataConfig(), 1, "f")


def test_shares_must_leave_training_rows():
    with pytest.raises(DataError, match=r"validation_split 0.5 and test_split 0.6 leave no training rows"):
        cut_parts({"train": rows([0, 1] * 9)}, "ab", DataConfig(validation_split=0.5, test_split=0.6), 1, "f")


def test_a_subset_keeps_order_and_differs_by_split():
    whole = rows([0, 1] * 50)
    train, test = take_subset(whole, 10, 1, "train"), take_subset(whole, 10, 1, "test")
    assert train.targets.count(0) == 5
    assert train.ids == sorted(train.ids, key=int)
    assert train.ids != test.ids
    assert take_subset(whole, 100, 1, "train") is whole
    assert take_subset(whole, None, 1, "train") is whole


def test_rows_without_a_class_are_drawn_at_random():
    numbers = Rows([f"t{i}" for i in range(20)], [str(i) for i in range(20)], [i / 3 for i in range(20)])
    parts = cut_parts({"train": numbers}, (), DataConfig(validation_split=0.1, test_split=0.2), 1, "f")
    assert {split: len(part) for split, part in parts.items()} == {"train": 14, "validation": 2, "test": 4}
    assert parts["test"].targets == [int(identifier) / 3 for identifier in parts["test"].ids]
    assert len(take_subset(numbers, 5, 1, "train")) == 5
    with pytest.raises(DataError, match="1 rows are too few to hold out a validation part"):
        cut_parts({"train": numbers.take([0])}, (), DataConfig(), 1, "f")
    with pytest.raises(DataError, match="The shares of validation and test leave no training rows"):
        cut_parts({"train": numbers}, (), DataConfig(validation_split=0.5, test_split=0.5), 1, "f")
