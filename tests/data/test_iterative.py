"""Iterative stratification: an example by hand, and splits that follow the labels better than chance."""

import numpy as np
import pytest

from kerora.data.iterative import draw_by_labels
from kerora.data.rows import Rows
from kerora.data.splits import cut_parts, take_subset
from kerora.errors import DataError
from kerora.settings.fit import DataConfig


def matrix(*rows: str) -> np.ndarray:
    return np.array([[label in row for label in "AB"] for row in rows])


@pytest.mark.parametrize("seed", range(20))
def test_an_example_by_hand(seed: int) -> None:
    # Both labels have two rows, so each side lacks one row of each. A comes first: its rows 0 and 1 go to different
    # sides. The side of row 0 then has a B, so row 2 goes to the other side, which is full. Row 3 has no label.
    assert draw_by_labels(matrix("AB", "A", "B", ""), 2, [seed]).tolist() in ([0, 3], [1, 2])


@pytest.mark.parametrize("seed", range(20))
def test_the_rarest_label_comes_first(seed: int) -> None:
    # B has two rows and A four. One B on each side, and with it an A; then one A of the other two on each side.
    drawn = draw_by_labels(matrix("AB", "AB", "A", "A"), 2, [seed]).tolist()
    assert len(set(drawn) & {0, 1}) == 1 and len(set(drawn) & {2, 3}) == 1


def test_the_seed_decides() -> None:
    labels = np.random.default_rng(0).random((50, 4)) < 0.3
    assert draw_by_labels(labels, 10, [7, 1]).tolist() == draw_by_labels(labels, 10, [7, 1]).tolist()
    assert len({tuple(draw_by_labels(labels, 10, [seed]).tolist()) for seed in range(10)}) > 5


@pytest.mark.parametrize("count", [0, 1, 37, 399, 400, 500])
def test_exactly_so_many_rows(count: int) -> None:
    labels = np.random.default_rng(1).random((400, 9)) < np.linspace(0.01, 0.5, 9)
    drawn = draw_by_labels(labels, count, [0])
    assert len(set(drawn.tolist())) == len(drawn) == min(count, 400) and (np.diff(drawn) > 0).all()


def test_labels_have_their_share_better_than_by_chance() -> None:
    generator = np.random.default_rng(2)
    labels = generator.random((1000, 20)) < np.geomspace(0.004, 0.3, 20)
    labels[:2, 0] = True
    exact = 0.1 * labels.sum(axis=0)

    def distance(drawn: np.ndarray) -> float:
        return float(np.abs(labels[drawn].sum(axis=0) - exact).mean())

    ours = [distance(draw_by_labels(labels, 100, [seed])) for seed in range(10)]
    chance = [distance(generator.permutation(1000)[:100]) for _ in range(10)]
    assert max(ours) < min(chance) and np.mean(ours) < 0.4 * np.mean(chance)


def test_a_rare_label_is_in_every_part() -> None:
    targets = [(0,) if number < 3 else (1,) if number % 2 else () for number in range(300)]
    rows: Rows[tuple[int, ...]] = Rows.numbered([f"text {number}" for number in range(300)], targets)
    for seed in range(5):
        config = DataConfig(validation_split=0.05, test_split=0.05)
        parts = cut_parts({"train": rows}, ("rare", "half"), config, seed, "rows.csv")
        assert {split: len(part) for split, part in parts.items()} == {"train": 270, "validation": 15, "test": 15}
        assert all((0,) in (part.targets or ()) for part in parts.values())
        assert (0,) in (take_subset(rows, 10, seed, "train").targets or ())


def test_a_label_with_too_few_rows_is_an_error() -> None:
    rows: Rows[tuple[int, ...]] = Rows.numbered(["a", "b", "c"], [(0,), (1,), (1,)])
    with pytest.raises(DataError, match="class 'rare' has 1 row, too few to split by class into train and validation"):
        cut_parts({"train": rows}, ("rare", "half"), DataConfig(validation_split=0.4), 0, "rows.csv")


def test_fingerprints_count_labels_and_tell_sets_apart() -> None:
    rows: Rows[tuple[int, ...]] = Rows.numbered(["a", "b", "c"], [(), (0, 2), (2,)])
    strata = rows.strata()
    assert strata is not None and strata.tolist() == [[False] * 3, [True, False, True], [False, False, True]]
    other: Rows[tuple[int, ...]] = Rows.numbered(["a", "b", "c"], [(), (0,), (2,)])
    assert rows.fingerprint() != other.fingerprint()
    # numbers to regress on are no sets
    numbers: Rows[tuple[float, ...]] = Rows.numbered(["a"], [(0.5, 1.0)])
    assert numbers.strata() is None and Rows.facts({"train": numbers}) == {}
