"""Turns rows into numbers and prediction files: the `PredictFace` of regression. It does not load scikit-learn."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.numbers import NumberRows, number_problem
from kerora.data.rows import Rows
from kerora.errors import ConfigError
from kerora.models.regressor import TextRegressor
from kerora.runfolder import atomic_file

SHOWN_CHARACTERS = 500
"""Number of characters of a text that predictions.csv holds."""
# the digits that a float32 needs to be read back unchanged
FORMAT = ".9g"


def columns(model: TextRegressor, submission: bool) -> list[str]:
    """Return ``predicted``, or of several targets ``predicted_<name>``. A submission has the names of the targets."""
    return list(model.classes) if submission else number_columns("predicted", model.classes)


def predict(model: TextRegressor, rows: Rows[Any], batch_size: int, submission: bool) -> Iterator[list[Any]]:
    """Yield the numbers of each row, as floats."""
    yield from predict_numbers(model, rows, batch_size).tolist()


def answer(values: Sequence[Any]) -> Any:
    """Return the number of a row, or a list of several."""
    return values[0] if len(values) == 1 else list(values)


def filled(model: TextRegressor, fill: str) -> list[Any]:
    """Return the values of a row that cannot be used, from `--fill`.

    Raises:
        ConfigError: it is no number.
    """
    if number_problem(fill, "--fill") is not None:
        raise ConfigError(f"--fill {fill!r:.60} is no number. Give a number, such as {model.scale.mean[0]:.3g}.")
    return [float(fill)] * len(model.classes)


def number_columns(stem: str, names: Sequence[str]) -> list[str]:
    """Return ``stem`` for one target, else ``stem_<name>`` for each."""
    return [stem] if len(names) == 1 else [f"{stem}_{name}" for name in names]


def predict_numbers(
    model: TextRegressor,
    rows: Rows[Any],
    batch_size: int = 64,
    *,
    cache: bool = False,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the numbers of rows, float64 (rows, targets), in the order of the rows.

    Args:
        model: the regressor.
        rows: the rows. Their targets are ignored.
        batch_size: rows in a batch. Default: 64.
        cache: whether to keep the tokens in the cache on disk. Default: False.
        progress: called after each batch with the number of rows that are done.
    """
    return model.predict_logits(rows, batch_size, cache=cache, progress=progress).astype(np.float64)


def write_predictions(path: Path, names: Sequence[str], parts: Sequence[tuple[str, NumberRows, np.ndarray]]) -> None:
    """Write predictions.csv: one line per row of each ``(split, rows, numbers)``.

    Columns: id, split, text (its first 500 characters), label, predicted. With several targets: label_<name>...,
    predicted_<name>...
    """
    with atomic_file(path) as stream:
        # the default line end, see `kerora.tasks.classification.predict.write_predictions`
        writer = csv.writer(stream)
        writer.writerow(["id", "split", "text", *number_columns("label", names), *number_columns("predicted", names)])
        for split, rows, numbers in parts:
            targets = rows.targets
            for index, values in enumerate(numbers):
                text = rows.texts[index] if rows.pairs is None else f"{rows.texts[index]} | {rows.pairs[index]}"
                labels = [""] * len(names) if targets is None else [repr(value) for value in targets[index]]
                found = [format(value, FORMAT) for value in values]
                writer.writerow([rows.ids[index], split, text[:SHOWN_CHARACTERS], *labels, *found])
