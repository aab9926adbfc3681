"""Turns rows into probabilities and prediction files: the `PredictFace` of classification.

It does not load scikit-learn, which would add a sixth to the start of `kerora predict` and 60 MB.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import Rows
from kerora.models.classifier import TextClassifier
from kerora.runfolder import atomic_file
from kerora.tasks.classification.probabilities import softmax

SHOWN_CHARACTERS = 500


def columns(model: TextClassifier, submission: bool) -> list[str]:
    """Return ``label``, and unless it is a submission ``score`` and ``p_<class>`` of each class."""
    return ["label"] if submission else ["label", "score", *(f"p_{name}" for name in model.classes)]


def predict(model: TextClassifier, rows: Rows, batch_size: int, submission: bool) -> Iterator[list[Any]]:
    """Yield the values of these columns for each row; numbers are floats."""
    for values in predict_probabilities(model, rows, batch_size):
        best = int(values.argmax())
        numbers = [] if submission else [float(value) for value in (values[best], *values)]
        yield [model.classes[best], *numbers]


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
        rows: the rows; labels are not looked at.
        batch_size: rows in a batch; default 64.
        cache: keep the tokens in the cache on disk; default False.
        progress: called with the number of rows done after each batch.
    """
    return softmax(model.predict_logits(rows, batch_size, cache=cache, progress=progress))


def write_predictions(path: Path, classes: Sequence[str], parts: Sequence[tuple[str, Rows, np.ndarray]]) -> None:
    """Write predictions.csv: one line a row of each ``(split, rows, probabilities)``.

    Columns: id, split, text (its first 500 characters), label, predicted, score, p_<class>...
    """
    with atomic_file(path) as stream:
        writer = csv.writer(stream)  # with RFC 4180's line ends: only they make it quote a lone \r in a text
        writer.writerow(["id", "split", "text", "label", "predicted", "score", *(f"p_{name}" for name in classes)])
        for split, rows, probabilities in parts:
            for index, values in enumerate(probabilities):
                best = int(values.argmax())
                label = "" if rows.targets is None else classes[rows.targets[index]]
                text = rows.texts[index] if rows.pairs is None else f"{rows.texts[index]} | {rows.pairs[index]}"
                numbers = [f"{value:.6f}" for value in (values[best], *values)]
                writer.writerow([rows.ids[index], split, text[:SHOWN_CHARACTERS], label, classes[best], *numbers])
