"""Turns rows into labels and prediction files: the `PredictFace` of several labels per text.

It does not load scikit-learn, because that would slow down the start of `kerora predict`.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.rows import Rows
from kerora.errors import ConfigError, nearest
from kerora.models.multi_label import MultiLabelClassifier
from kerora.runfolder import atomic_file
from kerora.tasks.classification.probabilities import SHOWN_CHARACTERS

# probabilities with six digits: more would be rounding errors of float32
FORMAT = ".6f"


def columns(model: MultiLabelClassifier, submission: bool) -> list[str]:
    """Return ``label``. If it is not for a submission, also a ``p_<class>`` for each label."""
    return ["label"] if submission else ["label", *(f"p_{name}" for name in model.classes)]


def predict(model: MultiLabelClassifier, rows: Rows, batch_size: int, submission: bool) -> Iterator[list[Any]]:
    """Yield the values of these columns for each row: the list of its labels, and floats."""
    thresholds = model.thresholds
    for values in model.predict_probabilities(rows, batch_size):
        names = [model.classes[number] for number in np.flatnonzero(values >= thresholds)]
        yield [names, *([] if submission else map(float, values))]


def answer(values: Sequence[Any]) -> list[str]:
    """Return the labels of a row."""
    return list(values[0])


def filled(model: MultiLabelClassifier, fill: str) -> list[Any]:
    """Return the labels of a row that cannot be used, from `--fill`: one name, or a JSON list of any number of them.

    Raises:
        ConfigError: a name is no label of the model.
    """
    names = _names_in(fill)
    unknown = next((name for name in names if name not in model.classes), None)
    if unknown is not None:
        hint = nearest(unknown, model.classes)
        raise ConfigError(
            f"--fill: {unknown!r:.60} is no label of the run.{hint} Give one of its labels, or a JSON list such as []."
        )
    return [names]


def _names_in(fill: str) -> list[str]:
    try:
        found = json.loads(fill)
    except ValueError:
        return [fill]
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else [fill]


def write_predictions(
    path: Path,
    classes: Sequence[str],
    thresholds: np.ndarray,
    parts: Sequence[tuple[str, Rows[tuple[int, ...]], np.ndarray]],
) -> None:
    """Write predictions.csv: one line per row of each ``(split, rows, probabilities)``.

    Columns: id, split, text (its first 500 characters), label, predicted, p_<class>... The labels are JSON lists.
    """
    with atomic_file(path) as stream:
        # The default line end, \r\n. With \n, csv.writer of Python 3.11 does not quote a single \r in a text.
        writer = csv.writer(stream)
        writer.writerow(["id", "split", "text", "label", "predicted", *(f"p_{name}" for name in classes)])
        for split, rows, probabilities in parts:
            for index, values in enumerate(probabilities):
                label = "" if rows.targets is None else label_list(rows.targets[index], classes)
                predicted = label_list(np.flatnonzero(values >= thresholds), classes)
                text = rows.texts[index] if rows.pairs is None else f"{rows.texts[index]} | {rows.pairs[index]}"
                numbers = [f"{value:.6f}" for value in values]
                writer.writerow([rows.ids[index], split, text[:SHOWN_CHARACTERS], label, predicted, *numbers])


def label_list(numbers: Iterable[int], classes: Sequence[str]) -> str:
    """Return the names of labels as a JSON list, which predictions.csv holds."""
    return json.dumps([classes[number] for number in numbers], ensure_ascii=False)
