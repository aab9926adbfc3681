"""Excerpts of the text with words that the text lacks, for an encoder that learns from a teacher."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

EXCERPT_WORDS = 24
_SUBSTITUTION = 6  # part of the seed, so that other random choices with the same seed are independent


def substituted(
    documents: Iterable[list[str]], count: int, words: Sequence[str], times: int, seed: int
) -> Iterator[list[str]]:
    """Yield excerpts of documents in which `words` replace half of the words at random. Each occurs `times` times.

    In this way a student sees, inside sentences, many words that its text lacks. This follows the data augmentation of
    TinyBERT (Jiao et al. 2020, arXiv:1909.10351).

    Args:
        documents: the text, without blank documents. Each gets about the same number of replaced words, in excerpts of
            up to `EXCERPT_WORDS` words.
        count: number of documents.
        words: the words.
        times: number of occurrences of each word.
        seed: seed of the order of the words and of their positions.
    """
    generator = np.random.default_rng((seed, _SUBSTITUTION))
    # in rounds, so that no word comes twice before all came once
    order = np.concatenate([generator.permutation(len(words)) for _ in range(times)])
    # rounded up, so that no word is left after the last document
    share = -(-len(order) // max(count, 1))
    used = 0
    for document in documents:
        text = " ".join(document).split()
        until = min(used + share, len(order))
        while used < until:
            begin = int(generator.integers(max(1, len(text) - EXCERPT_WORDS)))
            excerpt = text[begin : begin + EXCERPT_WORDS]
            # half of the words stay, so that a new word has known words around it
            places = generator.permutation(len(excerpt))[: max(1, len(excerpt) // 2)][: until - used]
            for place, number in zip(places, order[used : used + len(places)], strict=True):
                excerpt[place] = words[number]
            used += len(places)
            yield [" ".join(excerpt)]
