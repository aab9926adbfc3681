"""Turns rows into probabilities and prediction files: the `PredictFace` of classification.

It does not load scikit-learn, because that would slow down the start of `kerora predict`.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import Rows
from kerora.errors import ConfigError, nearest
from kerora.models.classifier import TextClassifier
from kerora.models.probabilities import softmax
from kerora.runfolder import atomic_file
from kerora.tasks.classification.probabilities import SHOWN_CHARACTERS

FORMAT = ".6f"


def columns(model: TextClassifier, submission: bool) -> list[str]:
    """Return ``label``. If it is not for a submission, also ``score`` and a ``p_<class>`` for each class."""
    return ["label"] if submission else ["label", "score", *(f"p_{name}" for name in model.classes)]


def predict(model: TextClassifier, rows: Rows, batch_size: int, submission: bool) -> Iterator[list[Any]]:
    """Yield the values of these columns for each row. Numbers are floats."""
    logits = model.predict_logits(rows, batch_size)
    # of the logits: probabilities can be equal by rounding where logits are not
    for best, values in zip(logits.argmax(axis=1), softmax(logits, model.temperature), strict=True):
        numbers = [] if submission else [float(value) for value in (values[best], *values)]
        yield [model.classes[best], *numbers]


def answer(values: Sequence[Any]) -> str | None:
    """Return the label of a row, or None if it is withheld."""
    label: str | None = values[0]
    return label


def filled(model: TextClassifier, fill: str) -> list[str]:
    """Return the label of a row that cannot be used.

    Raises:
        ConfigError: it is no class.
    """
    if fill not in model.classes:
        hint = nearest(fill, model.classes)
        raise ConfigError(f"--fill {fill!r} is no class of the run.{hint} Give one of its classes.")
    return [fill]


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
