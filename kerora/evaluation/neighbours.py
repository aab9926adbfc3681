"""Nearest neighbours of vectors by cosine: texts that are almost the same, and texts that are like no other."""

import re
from collections.abc import Sequence

import numpy as np

BLOCK = 256
"""Rows whose similarities to all others are in memory together."""
NEIGHBOURS = 10
SAME_WORDS = 0.7
"""Share of common words from which on two texts are near-duplicates."""
FAR = 3.5
"""Modified z-score from which on a row is an outlier (Iglewicz and Hoaglin 1993)."""
_WORD = re.compile(r"\w+")


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1, float32. A vector of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: np.ndarray = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found


def nearest(vectors: np.ndarray, count: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other rows of each row by cosine, nearest first.

    Args:
        vectors: (rows, width).
        count: number of neighbours. There are at most rows - 1.

    Returns:
        Their places, int64 (rows, count), and their similarities, float32 (rows, count).
    """
    vectors = unit(vectors)
    count = min(count, len(vectors) - 1)
    places = np.zeros((len(vectors), count), np.int64)
    similar = np.zeros((len(vectors), count), np.float32)
    for start in range(0, len(vectors) if count else 0, BLOCK):
        block = vectors[start : start + BLOCK] @ vectors.T
        rows = np.arange(len(block))
        block[rows, start + rows] = -np.inf
        best = np.argpartition(-block, count - 1, axis=1)[:, :count]
        # Equal similarities in the order of the rows, so that the result is the same on every machine.
        order = np.lexsort((best, -np.take_along_axis(block, best, axis=1)), axis=1)
        best = np.take_along_axis(best, order, axis=1)
        places[start : start + BLOCK] = best
        similar[start : start + BLOCK] = np.take_along_axis(block, best, axis=1)
    return places, similar


def same_words(first: str, second: str) -> float:
    """Return the share of common words of two texts, 0 to 1: words in both, divided by words in one or both."""
    one, two = (set(_WORD.findall(text.casefold())) or {text.casefold()} for text in (first, second))
    return len(one & two) / len(one | two)


def contradicting(texts: Sequence[str], labels: Sequence[int], places: np.ndarray) -> np.ndarray:
    """Return for each row a near-duplicate with another label, or -1, int64 (rows,).

    Only the neighbours of a row are compared, by their words: `SAME_WORDS` of the words of both texts are common.

    Args:
        texts: the texts.
        labels: class numbers.
        places: what `nearest` returned.
    """
    found = np.full(len(texts), -1)
    for row, others in enumerate(places):
        for other in others:
            if labels[other] != labels[row] and same_words(texts[row], texts[other]) >= SAME_WORDS:
                found[row] = other
                break
    return found


def outliers(similar: np.ndarray) -> np.ndarray:
    """Return whether each row is far from its neighbours, bool (rows,).

    The distance of a row is 1 minus the mean similarity to its neighbours. A row is an outlier if its distance exceeds
    the median by `FAR` standard deviations, which are estimated by the median of the absolute deviations.

    Args:
        similar: what `nearest` returned, (rows, neighbours).
    """
    if not similar.size:
        return np.zeros(len(similar), bool)
    distances = 1 - similar.mean(axis=1)
    centre = np.median(distances)
    spread = np.median(np.abs(distances - centre))
    found: np.ndarray = 0.6745 * (distances - centre) > FAR * spread
    return found & (spread > 0)
