"""An n-gram model of tokens: the baseline of language models. It needs counts alone."""

from typing import NamedTuple

import numpy as np

ORDER = 3


class _Counts(NamedTuple):
    """The n-grams of one length. Keys are sorted.

    Attributes:
        grams: key of each n-gram.
        counts: how often it occurs.
        contexts: key of each context, that is the n-gram without its last token.
        totals: how often a token follows the context.
        types: how many different tokens follow it.
    """

    grams: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    types: np.ndarray


class NgramModel:
    """An interpolated n-gram model with the smoothing of Witten and Bell (1991).

    The probability of a token is its share after the tokens before it, mixed with its probability after one token
    less. The weight of the latter is the number of different tokens after the context. The last level gives every
    token of the vocabulary the same probability, so no probability is 0.

    Args:
        ids: tokens of the training texts end to end, int (tokens,).
        offsets: start of each text, and the end of the last one, int (texts + 1,).
        counted: whether a token is learnt, bool (tokens,). Other tokens are only context.
        vocabulary: number of tokens of the vocabulary.
        order: length of the longest n-gram, at most 3. Default: 3.
    """

    def __init__(
        self, ids: np.ndarray, offsets: np.ndarray, counted: np.ndarray, vocabulary: int, order: int = ORDER
    ) -> None:
        self.vocabulary = vocabulary
        self.order = order
        # the first token of a text is learnt too: it has no context, but its share is known
        places = np.flatnonzero(counted)
        self._levels = [self._count(ids, offsets, places, length) for length in range(1, order + 1)]

    def losses(self, ids: np.ndarray, offsets: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the cross entropy in nats of the tokens at some places, float64 (places,).

        Args:
            ids: tokens end to end, int (tokens,).
            offsets: start of each text, and the end of the last one, int (texts + 1,).
            places: places of the tokens, int (places,).
        """
        found = np.full(len(places), 1 / self.vocabulary)
        for length, level in enumerate(self._levels, start=1):
            inside = np.flatnonzero(_has_context(offsets, places, length))
            grams, contexts = self._keys(ids, places[inside], length)
            at = _position(level.contexts, contexts)
            # a context that was never seen leaves the shorter one
            inside, grams, at = inside[at >= 0], grams[at >= 0], at[at >= 0]
            here = _position(level.grams, grams)
            counts = np.where(here >= 0, level.counts[here], 0)
            totals, types = level.totals[at], level.types[at]
            found[inside] = (counts + types * found[inside]) / (totals + types)
        losses: np.ndarray = -np.log(found)
        return losses

    def _count(self, ids: np.ndarray, offsets: np.ndarray, places: np.ndarray, length: int) -> _Counts:
        inside = places[_has_context(offsets, places, length)]
        grams, counts = np.unique(self._keys(ids, inside, length)[0], return_counts=True)
        contexts, starts, types = np.unique(grams // self.vocabulary, return_index=True, return_counts=True)
        # reduceat needs a start
        totals = np.add.reduceat(counts, starts) if len(starts) else counts
        return _Counts(grams, counts, contexts, totals, types)

    def _keys(self, ids: np.ndarray, places: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one number for each n-gram that ends at a place, and one for its context."""
        contexts = np.zeros(len(places), np.int64)
        for back in range(length - 1, 0, -1):
            contexts = contexts * self.vocabulary + ids[places - back]
        return contexts * self.vocabulary + ids[places], contexts


def _has_context(offsets: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    # the tokens of an n-gram lie in one text
    starts = offsets[np.searchsorted(offsets, places, side="right") - 1]
    enough: np.ndarray = places - starts >= length - 1
    return enough


def _position(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the position of each wanted key among the sorted known ones, -1 if it is not there."""
    if not len(known):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[at] == wanted, at, -1)
