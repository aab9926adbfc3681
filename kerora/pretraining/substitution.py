"""Text with words that it lacks, for an encoder that learns from a teacher."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

EXCERPT_WORDS = 24
_SUBSTITUTION = 6


def substituted(
    documents: Iterable[list[str]], count: int, words: Sequence[str], times: int, seed: int
) -> Iterator[list[str]]:
    """Yield excerpts of documents in which every other word is one of `words`, of which each occurs `times` times.

    So a student sees many words that its text lacks, in sentences (after the data augmentation of TinyBERT, Jiao et
    al. 2020, arXiv:1909.10351).

    Args:
        documents: the text, none of it blank; each gives the same number of excerpts of up to `EXCERPT_WORDS` words.
        count: how many documents there are.
        words: the words.
        times: how often each occurs.
        seed: seed of the words' order and of the places.
    """
    generator = np.random.default_rng((seed, _SUBSTITUTION))
    order = np.concatenate([generator.permutation(len(words)) for _ in range(times)])
    share = -(-len(order) // max(count, 1))
    used = 0
    for document in documents:
        text = " ".join(document).split()
        until = min(used + share, len(order))
        while used < until:
            begin = int(generator.integers(max(1, len(text) - EXCERPT_WORDS)))
            excerpt = text[begin : begin + EXCERPT_WORDS]
            places = generator.permutation(len(excerpt))[: max(1, len(excerpt) // 2)][: until - used]
            for place, number in zip(places, order[used : used + len(places)], strict=True):
                excerpt[place] = words[number]
            used += len(places)
            yield [" ".join(excerpt)]
