"""Cuts parts from the training rows and samples subsets, for all tasks."""

from collections.abc import Mapping, Sequence

import numpy as np

from kerora.data.classes import check_enough
from kerora.data.iterative import draw_by_labels
from kerora.data.rows import S, Split
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig


def cut_parts(splits: dict[str, S], classes: Sequence[str], config: DataConfig, seed: int, source: str) -> dict[str, S]:
    """Cut missing validation and test parts from the training rows: by class if rows have classes, else at random.

    Parts that exist are kept. A share refers to all training rows. Each class keeps at least one row in every part.
    Rows stay in their original order. If there are only a few whole files, the last share of each file is cut.

    Raises:
        DataError: there are too few rows, or too few rows of a class, or the shares leave no training rows.
    """
    shares = {"validation": config.validation_split, "test": config.test_split}
    shares = {name: share for name, share in shares.items() if share > 0 and name not in splits}
    parts, train = dict(splits), splits["train"]
    total, given = len(train), 0.0
    _check_shares(train, classes, shares, source)
    for order, (name, share) in enumerate(shares.items(), 1):
        # With too few files for one whole file in the part, each file is divided. `train` has already lost `given` of
        # each file, so the share of the rest is larger.
        divided = train.tails(share / (1 - given)) if share * total < 1 else None
        if divided is None:
            # Each class keeps one row for training and one for each part that is cut later.
            count, keep = round(share * total), len(shares) - order + 1
            if train.strata() is None:
                # Without classes there is nothing to keep for each class. The number of rows is checked instead.
                count, keep = max(1, count), 0
                _check_count(train, total, count, name)
            # `order` in the seed gives the validation and the test cut random streams of their own.
            drawn = _draw(_strata(train), count, [seed, order], keep)
            divided = train.take(np.delete(np.arange(len(train)), drawn).tolist()), train.take(drawn.tolist())
        train, parts[name] = divided
        given += share
    parts["train"] = train
    return {name: parts[name] for name in SPLITS if name in parts}


def take_subset(rows: S, count: int | None, seed: int, split: str) -> S:
    """Return at most `count` rows in their original order, sampled by class if rows have classes."""
    if count is None or count >= len(rows):
        return rows
    # The numbers from 10 give other random streams than the cuts, which use 1 and 2.
    return rows.take(_draw(_strata(rows), count, [seed, 10 + SPLITS.index(split)]).tolist())


def _check_shares(train: Split, classes: Sequence[str], shares: Mapping[str, float], source: str) -> None:
    strata = train.strata()
    if sum(shares.values()) >= 1:
        if strata is None:
            names = " and ".join(shares)
            raise DataError(f"The shares of {names} leave no training {train.noun}. Lower them.")
        listed = " and ".join(f"{name}_split {share}" for name, share in shares.items())
        raise DataError(f"{listed} leave no training rows. Lower them so that their sum is less than 1.")
    if shares and strata is not None:
        check_enough(strata, classes, source, list(shares))


def _check_count(train: Split, total: int, count: int, name: str) -> None:
    if count >= len(train):
        raise DataError(
            f"{total} {train.noun} are too few to hold out a {name} part. Give more {train.noun}, give a file with "
            f"--{name}, or set --{name}-split 0."
        )


def _strata(rows: Split) -> np.ndarray:
    """Return the class or the classes of each row, or one class for all rows if they have none."""
    strata = rows.strata()
    return np.zeros(len(rows), np.int64) if strata is None else strata


def _draw(strata: np.ndarray, count: int, seed: Sequence[int], keep: int = 0) -> np.ndarray:
    return (draw_by_class if strata.ndim == 1 else draw_by_labels)(strata, count, seed, keep)


def draw_by_class(labels: np.ndarray, count: int, seed: Sequence[int], keep: int = 0) -> np.ndarray:
    """Sample rows so that each class has its share of them, and at least one row if `count` is large enough.

    The stratified splits of scikit-learn reject classes of one row and parts with fewer rows than classes. Here each
    class gets one row first. The shares are then rounded by largest remainder (Hamilton).

    Args:
        labels: class number of each row.
        count: rows to sample. If `keep` is not 0, at least one row of each class is sampled.
        seed: seed of the sample.
        keep: rows of each class that must not be sampled.

    Returns:
        Sorted row indices.
    """
    values, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    limits = sizes - keep
    # With `keep`, at least one row of each class, but never more than the rows that may be sampled.
    count = min(max(count, len(values) if keep else count), int(limits.sum()))
    quotas = _quotas(sizes, limits, count)
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(np.flatnonzero(inverse == number))[:quota] for number, quota in enumerate(quotas)]
    # Sorted, so that the rows keep their order. A subset is then a thinned copy of the file.
    rows: np.ndarray = np.sort(np.concatenate(drawn))
    return rows


def _quotas(sizes: np.ndarray, limits: np.ndarray, count: int) -> np.ndarray:
    """Divide `count` rows among the classes in proportion to their sizes, within their limits."""
    exact = count * sizes / sizes.sum()
    # With fewer rows than classes, some classes must go without.
    lowest = np.minimum(1, limits) if count >= len(sizes) else np.zeros_like(limits)
    quotas = np.clip(np.floor(exact).astype(int), lowest, limits)
    # Rounding leaves a few rows over or too many. The class furthest from its exact share gives or takes one at a time.
    while quotas.sum() != count:
        step = 1 if quotas.sum() < count else -1
        open_classes = quotas < limits if step > 0 else quotas > lowest
        owed = np.where(open_classes, (exact - quotas) * step, -np.inf)
        quotas[int(np.argmax(owed))] += step
    return quotas
