"""How accurate the answers are if those with a low probability are withheld: the coverage curve and its thresholds.

Source of the bound: Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the
binomial". The idea of the curve: El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification".
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import betaincinv

CONFIDENCE = 0.95
"""Confidence of the one-sided lower bound of an accuracy."""


@dataclass(frozen=True)
class Coverage:
    """The answers whose probability is a threshold or more.

    Attributes:
        threshold: the smallest probability that is answered.
        answered: number of answered rows.
        rows: number of all rows.
        accuracy: share of the answered rows that are right. None without an answered row.
        bound: lower bound of this accuracy, one-sided, 95 %. None without an answered row.
    """

    threshold: float
    answered: int
    rows: int
    accuracy: float | None
    bound: float | None

    @property
    def share(self) -> float:
        """Share of the rows that are answered."""
        return self.answered / self.rows if self.rows else 0.0

    @property
    def rounded_bound(self) -> float:
        """The bound, rounded down to four digits: what is printed is still reached."""
        return math.floor((self.bound or 0.0) * 1e4) / 1e4

    def described(self) -> str:
        """Return threshold, share and accuracy in words."""
        start = f"threshold {self.threshold:.6g} answers {self.answered:,} of {self.rows:,} rows ({self.share:.1%})"
        if self.accuracy is None:
            return start
        return f"{start}, accuracy {self.accuracy:.4f}, at least {self.rounded_bound:.4f} with 95 % confidence"

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the attributes and the share as plain values."""
        return {**asdict(self), "share": self.share}


@dataclass(frozen=True)
class CoverageCurve:
    """The coverage at every threshold that changes it, from the highest threshold to the lowest.

    Attributes:
        thresholds: the different probabilities of the rows, falling, shape (points,).
        answered: rows with at least this probability, shape (points,).
        accuracy: accuracy of these rows, shape (points,).
        bound: its lower bound, shape (points,).
        rows: number of all rows.
    """

    thresholds: np.ndarray
    answered: np.ndarray
    accuracy: np.ndarray
    bound: np.ndarray
    rows: int

    def at(self, place: int) -> Coverage:
        """Return one point of the curve."""
        values = (column[place] for column in (self.thresholds, self.answered, self.accuracy, self.bound))
        threshold, answered, accuracy, bound = values
        return Coverage(float(threshold), int(answered), self.rows, float(accuracy), float(bound))

    def best(self) -> Coverage:
        """Return the point with the highest bound; of equal bounds, the one that answers more rows."""
        return self.at(len(self.bound) - 1 - int(self.bound[::-1].argmax()))

    def reaching(self, accuracy: float) -> Coverage | None:
        """Return the point with the smallest threshold whose bound is `accuracy` or more. None if there is none."""
        places = np.flatnonzero(self.bound >= accuracy)
        return self.at(int(places[-1])) if len(places) else None

    def below(self, threshold: float) -> Coverage:
        """Return the coverage if rows with a probability below `threshold` are not answered."""
        # the thresholds fall, so those at or above the given one come first
        count = int((self.thresholds >= threshold).sum())
        if not count:
            return Coverage(threshold, 0, self.rows, None, None)
        found = self.at(count - 1)
        return Coverage(threshold, found.answered, self.rows, found.accuracy, found.bound)


def lower_bound(right: np.ndarray | int, rows: np.ndarray | int) -> np.ndarray:
    """Return the one-sided 95 % Clopper-Pearson lower bound of a share: the 5 % quantile of Beta(right, wrong + 1).

    Args:
        right: number of right rows, of any shape.
        rows: number of rows, 1 or more, of the same shape.
    """
    right, rows = np.asarray(right, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    # the quantile is not defined for no right row: the bound is 0 then
    bound = betaincinv(np.maximum(right, 1), rows - np.maximum(right, 1) + 1, 1 - CONFIDENCE)
    return np.where(right > 0, bound, 0.0)


def coverage_curve(scores: np.ndarray, correct: np.ndarray) -> CoverageCurve:
    """Return the coverage curve of answers.

    Args:
        scores: probability of the answer of each row, shape (rows,).
        correct: whether each answer is right, shape (rows,).

    Raises:
        ValueError: there are no rows.
    """
    if not len(scores):
        raise ValueError("A coverage curve needs at least one row.")
    order = np.argsort(-scores, kind="stable")
    falling, right = scores[order], np.cumsum(correct[order])
    # rows of equal probability are answered together, so only the last of them is a point
    last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    answered = last + 1
    return CoverageCurve(
        falling[last], answered, right[last] / answered, lower_bound(right[last], answered), len(scores)
    )
