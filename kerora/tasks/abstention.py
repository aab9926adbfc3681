"""Answers that are withheld because their probability is low."""

from kerora.errors import ConfigError

DIGITS = 6
"""Digits after the point of a score in every output. A threshold compares scores that are rounded to them."""


def abstains(score: float, threshold: float | None) -> bool:
    """Tell whether an answer is withheld: its score, as the outputs show it, is below the threshold."""
    # rounded: a threshold is a score of predictions.csv, and the same row must not fall below it by its seventh digit
    return threshold is not None and round(score, DIGITS) < threshold


def check_threshold(threshold: float | None) -> None:
    """Check that a threshold is a probability.

    Raises:
        ConfigError: it is below 0 or above 1.
    """
    # written so that NaN fails too
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"--abstain-below must be a probability, from 0 to 1. Received: {threshold:g}")
