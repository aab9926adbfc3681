"""Turns rows into probabilities and prediction files: the `PredictFace` of classification.

It does not load scikit-learn, because that would slow down the start of `kerora predict`.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import Rows
from kerora.models.classifier import TextClassifier
from kerora.runfolder import atomic_file
from kerora.tasks.classification.probabilities import SHOWN_CHARACTERS, softmax


def columns(model: TextClassifier, submission: bool) -> list[str]:
    """Return ``label``. If it is not for a submission, also ``score`` and a ``p_<class>`` for each class."""
    return ["label"] if submission else ["label", "score", *(f"p_{name}" for name in model.classes)]


def predict(model: TextClassifier, rows: Rows, batch_size: int, submission: bool) -> Iterator[list[Any]]:
    """Yield the values of these columns for each row. Numbers are floats."""
    for values in predict_probabilities(model, rows, batch_size):
        best = int(values.argmax())
        numbers = [] if submission else [float(value) for value in (values[best], *values)]
        yield [model.classes[best], *numbers]


def filled(label: str) -> list[Any]:
    """Return the values of a submission for a row that cannot be used: the label."""
    return [label]


def predict_probabilities(
    model: TextClassifier,
    rows: Rows,
    batch_size: int = 64,
    *,
    cache: bool = False,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the class probabilities of rows, float64 (rows, classes), in the rows' order.

    Args:
        model: the classifier.
        rows: the rows. Labels are ignored.
        batch_size: rows in a batch. Default: 64.
        cache: whether to keep the tokens in the cache on disk. Default: False.
        progress: called after each batch with the number of rows that are done.
    """
    return softmax(model.predict_logits(rows, batch_size, cache=cache, progress=progress))


def write_predictions(path: Path, classes: Sequence[str], parts: Sequence[tuple[str, Rows, np.ndarray]]) -> None:
    """Write predictions.csv: one line per row of each ``(split, rows, probabilities)``.

    Columns: id, split, text (its first 500 characters), label, predicted, score, p_<class>...
    """
    with atomic_file(path) as stream:
        # The default line end, \r\n. With \n, csv.writer of Python 3.11 does not quote a single \r in a text.
        writer = csv.writer(stream)
        writer.writerow(["id", "split", "text", "label", "predicted", "score", *(f"p_{name}" for name in classes)])
        for split, rows, probabilities in parts:
            for index, values in enumerate(probabilities):
                best = int(values.argmax())
                label = "" if rows.targets is None else classes[rows.targets[index]]
                text = rows.texts[index] if rows.pairs is None else f"{rows.texts[index]} | {rows.pairs[index]}"
                numbers = [f"{value:.6f}" for value in (values[best], *values)]
                writer.writerow([rows.ids[index], split, text[:SHOWN_CHARACTERS], label, classes[best], *numbers])
