"""TF-IDF of texts, the input of the simple models that a tuned model should beat.

A task computes its baseline in its module ``baseline.py``. Nothing else imports this module, because scikit-learn's
linear models would slow down every start.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.pipeline import make_pipeline

from kerora.data.rows import Rows
from kerora.errors import DataError

Unit = Literal["words", "characters"]

# Characters up to which the vocabulary is counted. It takes up to 20 times the memory of the texts, so that longer
# texts are hashed.
MOST_COUNTED = 32_000_000
# Weights of the linear model. The optimizer of scikit-learn holds 25 vectors of that length: 400 MB.
MOST_WEIGHTS = 2_000_000
# rows that are scored at once
BLOCK = 10_000
# length of the n-grams: words and word pairs; one to three characters
SPANS: dict[Unit, tuple[int, int]] = {"words": (1, 2), "characters": (1, 3)}
TITLES: dict[Unit, str] = {"words": "TF-IDF of words and word pairs", "characters": "TF-IDF of character n-grams"}
# texts that decide between words and characters, and how many characters of each
LOOKED_AT, LOOKED_INTO = 1_000, 500
# from this share of their letters on, texts have no blanks between words
UNSPACED_SHARE = 0.3
# Thai to Tibetan, Myanmar, Khmer, kana, Han
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_LETTER = re.compile(r"[^\W\d_]")


class TextFeatures:
    """TF-IDF of single texts or of pairs of texts, with sublinear term frequencies.

    A row has the terms of the text. A row of a pair has the terms of the first text, those of the second, and the
    cosine of the two.

    Terms are words and word pairs. They are character n-grams where words cannot be found: in scripts without blanks
    between words, and if no text has a word of two letters.

    Args:
        rows: the training rows.
        outputs: number of weights per term that the linear model has. With many, rare terms are left out.

    Attributes:
        name: the features in words.
        matrix: the features of the training rows, shape (rows, terms).

    Raises:
        DataError: the texts hold no character that can be counted.
    """

    def __init__(self, rows: Rows[Any], outputs: int = 1) -> None:
        most = max(1_000, MOST_WEIGHTS // max(1, outputs) // (1 if rows.pairs is None else 2))
        units: tuple[Unit, ...] = ("characters",) if is_unspaced(_texts(rows)) else ("words", "characters")
        for unit in units:
            self._vectorizer = _vectorizer(unit, most, counted=_is_short(_texts(rows), unit))
            stacked = _fitted(self._vectorizer, rows)
            if stacked is not None:
                break
        else:
            raise DataError("The training texts hold no word and no character that can be counted.")
        self.name = TITLES[unit]
        self.matrix = _joined(stacked, rows)

    def __call__(self, rows: Rows[Any]) -> sparse.csr_matrix:
        """Return the features of further rows, shape (rows, terms)."""
        return _joined(self._vectorizer.transform(_texts(rows)), rows)

    def apply(self, function: Callable[[sparse.csr_matrix], np.ndarray], rows: Rows[Any]) -> np.ndarray:
        """Return the values of a function of the features of rows, computed for some rows at a time."""
        return np.concatenate([function(self(block)) for block in _blocks(rows)])


def is_unspaced(texts: Iterable[str]) -> bool:
    """Tell whether texts are written without blanks between words, as Chinese, Japanese and Thai are."""
    sample = "".join(text[:LOOKED_INTO] for text in itertools.islice(texts, LOOKED_AT))
    return len(_UNSPACED.findall(sample)) > UNSPACED_SHARE * max(1, len(_LETTER.findall(sample)))


def _vectorizer(unit: Unit, most: int, counted: bool) -> Any:
    shape = {"analyzer": "word" if unit == "words" else "char", "ngram_range": SPANS[unit]}
    if counted:
        return TfidfVectorizer(sublinear_tf=True, max_features=most, **shape)
    # the largest power of two, so that the hash spreads evenly
    size = 1 << (most.bit_length() - 1)
    hashed = HashingVectorizer(n_features=size, alternate_sign=False, norm=None, dtype=np.float32, **shape)
    return make_pipeline(hashed, TfidfTransformer(sublinear_tf=True))


def _fitted(vectorizer: Any, rows: Rows[Any]) -> sparse.csr_matrix | None:
    """Return the features of the texts. None if they have no term."""
    try:
        found = vectorizer.fit_transform(_texts(rows))
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        return None
    # hashing knows no vocabulary that could be empty
    return found if found.nnz else None


def _is_short(texts: Iterable[str], unit: Unit) -> bool:
    # there are about four times as many character n-grams as words and word pairs
    most = MOST_COUNTED // (1 if unit == "words" else 4)
    # the sum ends early: long texts are not read twice
    return all(total <= most for total in itertools.accumulate(map(len, texts)))


def _texts(rows: Rows[Any]) -> Iterator[str]:
    """Yield the texts, and then the second texts. They come from the disk a few at a time."""
    return itertools.chain(rows.texts, rows.pairs or ())


def _joined(stacked: sparse.csr_matrix, rows: Rows[Any]) -> sparse.csr_matrix:
    if rows.pairs is None:
        return stacked
    first, second = stacked[: len(rows)], stacked[len(rows) :]
    # both have length 1, so that the sum of the products is the cosine
    cosine = sparse.csr_matrix(first.multiply(second).sum(axis=1))
    return sparse.hstack([first, second, cosine], format="csr")


def _blocks(rows: Rows[Any]) -> Iterator[Rows[Any]]:
    for start in range(0, len(rows), BLOCK):
        yield rows.take(range(start, min(start + BLOCK, len(rows))))
