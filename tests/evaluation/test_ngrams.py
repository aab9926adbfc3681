"""The n-gram model against a direct computation with dictionaries."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest

from kerora.evaluation.ngrams import NgramModel

VOCABULARY = 7


def texts(seed: int, lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, sum(lengths)).astype(np.int32)
    return ids, np.concatenate([[0], np.cumsum(lengths)])


def probability(context: tuple[int, ...], token: int, follow: dict[tuple[int, ...], Counter[int]]) -> float:
    """Witten and Bell's estimate, written down as its definition."""
    shorter = 1 / VOCABULARY if not context else probability(context[1:], token, follow)
    counts = follow.get(context) if context else follow[()]
    return (counts[token] + len(counts) * shorter) / (counts.total() + len(counts)) if counts else shorter


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_probabilities_are_those_of_the_definition(order: int) -> None:
    (ids, offsets), (new, bounds) = texts(0, [12, 0, 1, 30]), texts(1, [5, 9])
    counted = np.arange(len(ids)) % 4 > 0
    follow: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for start, end in itertools.pairwise(offsets):
        for place in range(start, end):
            for length in range(order):
                if counted[place] and place - start >= length:
                    follow[tuple(ids[place - length : place])][int(ids[place])] += 1
    wanted = []
    for start, end in itertools.pairwise(bounds):
        wanted += [
            probability(tuple(new[max(start, at - order + 1) : at]), int(new[at]), follow) for at in range(start, end)
        ]
    model = NgramModel(ids, offsets, counted, VOCABULARY, order)
    np.testing.assert_allclose(np.exp(-model.losses(new, bounds, np.arange(len(new)))), wanted)


def test_all_tokens_together_have_the_probability_one() -> None:
    ids, offsets = texts(2, [40])
    model = NgramModel(ids, offsets, np.ones(40, bool), VOCABULARY)
    for context in ([3, 4], [0, 0], [6, 1]):
        ends = [np.array([*context, token]) for token in range(VOCABULARY)]
        total = sum(np.exp(-model.losses(end, np.array([0, 3]), np.array([2]))[0]) for end in ends)
        assert total == pytest.approx(1)


def test_without_counted_tokens_every_token_is_equally_likely() -> None:
    ids, offsets = texts(3, [9])
    model = NgramModel(ids, offsets, np.zeros(9, bool), VOCABULARY)
    np.testing.assert_allclose(model.losses(ids, offsets, np.arange(9)), np.log(VOCABULARY))
