"""Stratified parts of the training rows, and subsets."""

from collections.abc import Sequence

import numpy as np

from kerora.data.classes import check_enough
from kerora.data.rows import Rows
from kerora.errors import DataError
from kerora.settings.fit import DataConfig


def cut_parts(
    splits: dict[str, Rows], classes: Sequence[str], config: DataConfig, seed: int, source: str
) -> dict[str, Rows]:
    """Cut missing validation and test parts from the training rows, stratified by class.

    Given parts are kept. The shares are of all training rows; each class keeps at least one row in
    every part. Rows stay in their original order.

    Raises:
        DataError: a class has too few rows, or the shares leave nothing to train on.
    """
    shares = {"validation": config.validation_split, "test": config.test_split}
    shares = {name: share for name, share in shares.items() if share > 0 and name not in splits}
    train = splits["train"]
    if not shares:
        return splits
    if sum(shares.values()) >= 1:
        raise DataError(
            f"{' and '.join(f'{name}_split {share}' for name, share in shares.items())} leave no training rows."
        )
    check_enough(train, classes, source, list(shares))
    remaining = np.arange(len(train))
    labels = np.asarray(train.labels)
    parts = dict(splits)
    for order, (name, share) in enumerate(shares.items(), 1):
        drawn = draw_by_class(labels[remaining], round(share * len(train)), [seed, order], keep=len(shares) - order + 1)
        parts[name] = train.take(remaining[drawn].tolist())
        remaining = np.delete(remaining, drawn)
    parts["train"] = train.take(remaining.tolist())
    return {name: parts[name] for name in ("train", "validation", "test") if name in parts}


def take_subset(rows: Rows, count: int | None, seed: int, split: str) -> Rows:
    """Return at most `count` rows, drawn by class, in their original order."""
    if count is None or count >= len(rows):
        return rows
    order = ("train", "validation", "test").index(split)
    return rows.take(draw_by_class(np.asarray(rows.labels), count, [seed, 10 + order]).tolist())


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
