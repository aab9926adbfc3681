from collections import Counter

import numpy as np

from kerora.data.audit import audit
from kerora.data.rows import Dataset, Rows


def dataset():
    train = Rows(["One two", "one  TWO\n", "three", "four five six", "three"], list("abcde"), [0, 1, 0, 1, 0])
    test = Rows(["ONE two", "new words here", "Three"], list("xyz"), [0, 1, 0])
    return Dataset("demo", ("no", "yes", "never"), {"train": train, "test": test})


def test_duplicates_conflicts_and_leakage():
    result = audit(dataset(), None, 2)
    train = result.splits["train"]
    assert (train.rows, train.labels) == (5, {"no": 3, "yes": 2, "never": 0})
    assert (train.duplicates, train.conflicts) == (2, 2)
    assert result.splits["test"].duplicates == 0
    leak = result.leakage["test"]
    assert list(result.leakage) == ["test"]
    assert (leak.count, leak.share) == (2, 2 / 3)
    assert leak.examples == [("x", "a", "ONE two"), ("z", "c", "Three")]


def test_lengths_in_words_and_the_share_that_is_cut():
    result = audit(dataset(), None, 2)
    assert (result.unit, result.max_length) == ("words", 2)
    assert result.splits["train"].lengths == {"p50": 2, "p90": 3, "p95": 3, "p99": 3, "max": 3}
    assert result.splits["train"].truncated == 1 / 5


def test_lengths_in_tokens_are_order_statistics():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 400, 137).tolist()
    rows = Rows([str(i) for i in range(137)], [str(i) for i in range(137)], [0] * 137)
    part = audit(Dataset("d", ("a",), {"train": rows}), lambda _: lengths, 128).splits["train"]
    for name, percent in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99), ("max", 100)):
        assert sum(length <= part.lengths[name] for length in lengths) / 137 >= percent / 100
        assert sum(length < part.lengths[name] for length in lengths) / 137 < percent / 100
    assert part.truncated == sum(length > 128 for length in lengths) / 137


def test_random_texts_agree_with_counting():
    rng = np.random.default_rng(1)
    words = [f"w{number}" for number in rng.integers(0, 30, 200)]
    seconds = [f"s{number}" for number in rng.integers(0, 3, 200)]
    labels = rng.integers(0, 2, 200).tolist()
    rows = Rows(words, [str(i) for i in range(200)], labels, seconds)
    result = audit(Dataset("d", ("a", "b"), {"train": rows, "test": rows}), None, 8)
    keys = list(zip(words, seconds, strict=True))
    assert result.splits["train"].duplicates == sum(count - 1 for count in Counter(keys).values())
    mixed = {key for key in keys if {label for k, label in zip(keys, labels, strict=True) if k == key} == {0, 1}}
    assert result.splits["train"].conflicts == sum(key in mixed for key in keys)
    assert result.leakage["test"].share == 1
    assert result.splits["train"].lengths["p50"] == 2


def test_an_empty_part_is_no_error():
    empty = Dataset("d", ("a",), {"train": Rows(["x"], ["1"], [0]), "test": Rows([], [], [])})
    result = audit(empty, None, 8)
    assert result.splits["test"].lengths["max"] == 0
    assert result.leakage["test"].share == 0
