"""Out-of-fold probabilities: each row is predicted by a model that was trained on the other folds."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from kerora.data.rows import Dataset, Rows
from kerora.errors import ConfigError, DataError
from kerora.tuning.workbench import Workbench

LEAST_FOLDS = 2


def fold_numbers(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row, int64 (rows,). Each class, and all rows together, are divided evenly.

    Args:
        labels: class numbers, (rows,).
        folds: number of folds.
        seed: seed of the division.

    Raises:
        ConfigError: there are fewer than two folds.
        DataError: there are fewer rows than folds.
    """
    if folds < LEAST_FOLDS:
        raise ConfigError(f"--folds must be {LEAST_FOLDS} or more. Received: {folds}")
    if len(labels) < folds:
        raise DataError(f"There are {len(labels)} rows, fewer than --folds {folds}. Give a smaller number.")
    generator = np.random.default_rng(seed)
    # Sorted by class after a shuffle: dealing them out in turn divides every class and the whole evenly.
    shuffled = generator.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    found = np.zeros(len(labels), np.int64)
    found[order] = np.arange(len(labels)) % folds
    return found


def out_of_fold(bench: Workbench, rows: Rows[int], folds: int, say: Callable[[str], None]) -> np.ndarray:
    """Return the probabilities of each row from a model that did not train on it, float64 (rows, classes).

    The base model is loaded once. Each fold trains a new adapter and a new head. No row decides which epoch is kept:
    every fold trains all epochs.

    Args:
        bench: holds the base model and the settings.
        rows: all rows.
        folds: number of folds.
        say: called with a line about each fold.
    """
    labels = np.asarray(rows.targets)
    fold = fold_numbers(labels, folds, bench.config.training.seed)
    found = np.zeros((len(rows), len(bench.data.classes)))
    for number in range(folds):
        held = np.flatnonzero(fold == number)
        say(f"Fold {number + 1} of {folds}: {len(rows) - len(held):,} training rows, {len(held):,} predicted rows")
        part = rows.take(held.tolist())
        dataset = _training(bench.data, rows.take(np.flatnonzero(fold != number).tolist()))

        def predicted(model: Any, part: Rows[int] = part) -> np.ndarray:
            probabilities: np.ndarray = model.predict_probabilities(part, bench.config.training.evaluation_batch_size)
            return probabilities

        found[held] = bench.trained(bench.config, dataset, predicted)
    return found


def _training(dataset: Dataset[Any], rows: Rows[int]) -> Dataset[Any]:
    return dataclasses.replace(dataset, splits={"train": rows})
