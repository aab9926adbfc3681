"""Turns rows into probabilities and prediction files.

It does not load scikit-learn, which would add a sixth to the start of `kerora predict` and 60 MB.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kerora.data.rows import Rows
from kerora.errors import RunError
from kerora.evaluation.probabilities import softmax
from kerora.lora.files import read_adapter_config
from kerora.models.classifier import TextClassifier
from kerora.runfolder import RunFolder, atomic_file, check_has_adapter, read_json

SHOWN_CHARACTERS = 500


def read_classes(run: RunFolder) -> tuple[str, ...]:
    """Read the class names of a run's adapter.

    Raises:
        RunError: there is no adapter yet, or labels.json is missing, damaged, or of another adapter.
        AdapterError: adapter_config.json is missing or damaged.
    """
    check_has_adapter(run)
    classes = read_json(run.labels).get("classes")
    if not isinstance(classes, list) or len(classes) < 2 or not all(isinstance(name, str) for name in classes):
        raise RunError(f"{run.labels} is damaged: 'classes' must be a list of two or more names. Received: {classes!r}")
    if read_adapter_config(run.adapter).get("kerora", {}).get("classes", classes) != classes:
        raise RunError(f"{run.labels} does not name the classes that the adapter was trained on. Restore the file.")
    return tuple(classes)


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
