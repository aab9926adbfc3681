"""Parts cut from the training rows, and subsets, whatever the task."""

from collections.abc import Mapping, Sequence

import numpy as np

from kerora.data.classes import check_enough
from kerora.data.rows import S, Split
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig


def cut_parts(splits: dict[str, S], classes: Sequence[str], config: DataConfig, seed: int, source: str) -> dict[str, S]:
    """Cut missing validation and test parts from the training rows: by class where rows have one, else at random.

    Given parts are kept. The shares are of all training rows; each class keeps at least one row in
    every part. Rows stay in their original order. Of a few whole files the last share of each is cut.

    Raises:
        DataError: there are too few rows, or of a class, or the shares leave nothing to train on.
    """
    shares = {"validation": config.validation_split, "test": config.test_split}
    shares = {name: share for name, share in shares.items() if share > 0 and name not in splits}
    parts, train = dict(splits), splits["train"]
    total, given = len(train), 0.0
    _check_shares(train, classes, shares, source)
    for order, (name, share) in enumerate(shares.items(), 1):
        divided = train.tails(share / (1 - given)) if share * total < 1 else None
        if divided is None:
            count, keep = round(share * total), len(shares) - order + 1
            if train.strata() is None:
                count, keep = max(1, count), 0
                _check_count(train, total, count, name)
            drawn = draw_by_class(_strata(train), count, [seed, order], keep)
            divided = train.take(np.delete(np.arange(len(train)), drawn).tolist()), train.take(drawn.tolist())
        train, parts[name] = divided
        given += share
    parts["train"] = train
    return {name: parts[name] for name in SPLITS if name in parts}


def take_subset(rows: S, count: int | None, seed: int, split: str) -> S:
    """Return at most `count` rows, drawn by class where rows have one, in their original order."""
    if count is None or count >= len(rows):
        return rows
    return rows.take(draw_by_class(_strata(rows), count, [seed, 10 + SPLITS.index(split)]).tolist())


def _check_shares(train: Split, classes: Sequence[str], shares: Mapping[str, float], source: str) -> None:
    strata = train.strata()
    if sum(shares.values()) >= 1:
        if strata is None:
            names = " and ".join(shares)
            raise DataError(f"The shares of {names} leave no training {train.noun}. Lower --validation-split.")
        listed = " and ".join(f"{name}_split {share}" for name, share in shares.items())
        raise DataError(f"{listed} leave no training rows.")
    if shares and strata is not None:
        check_enough(strata, classes, source, list(shares))


def _check_count(train: Split, total: int, count: int, name: str) -> None:
    if count >= len(train):
        raise DataError(
            f"{total} {train.noun} are too few to hold a {name} part out of. Give more, a file with --{name}, or set "
            f"--{name}-split 0."
        )


def _strata(rows: Split) -> np.ndarray:
    """Return the class of each row, the same one where there are none."""
    strata = rows.strata()
    return np.zeros(len(rows), np.int64) if strata is None else strata


def draw_by_class(labels: np.ndarray, count: int, seed: Sequence[int], keep: int = 0) -> np.ndarray:
    """Draw rows so that each class has its share of them, and at least one where `count` allows.

    scikit-learn's stratified splits refuse classes of one row and parts smaller than the number of
    classes; here shares are rounded by largest remainder (Hamilton), after one row for every class.

    Args:
        labels: class number of each row.
        count: rows to draw; raised to the number of classes when some rows must be kept.
        seed: seed of the drawing.
        keep: rows of each class that must not be drawn.

    Returns:
        Sorted row indices.
    """
    values, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    limits = sizes - keep
    count = min(max(count, len(values) if keep else count), int(limits.sum()))
    quotas = _quotas(sizes, limits, count)
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(np.flatnonzero(inverse == number))[:quota] for number, quota in enumerate(quotas)]
    rows: np.ndarray = np.sort(np.concatenate(drawn))
    return rows


def _quotas(sizes: np.ndarray, limits: np.ndarray, count: int) -> np.ndarray:
    """Share `count` rows over classes in proportion to their sizes, within their limits."""
    exact = count * sizes / sizes.sum()
    lowest = np.minimum(1, limits) if count >= len(sizes) else np.zeros_like(limits)
    quotas = np.clip(np.floor(exact).astype(int), lowest, limits)
    while quotas.sum() != count:
        step = 1 if quotas.sum() < count else -1
        open_classes = quotas < limits if step > 0 else quotas > lowest
        owed = np.where(open_classes, (exact - quotas) * step, -np.inf)
        quotas[int(np.argmax(owed))] += step
    return quotas
