"""What `kerora tune` asks of several labels per text."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerora.data.rows import Dataset, Rows, indicators
from kerora.data.several import LabelSetReader
from kerora.errors import ConfigError
from kerora.evaluation.label_bootstrap import COUNTED, metrics_of_weights
from kerora.evaluation.label_metrics import LABEL_METRICS, row_losses
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.multi_label.callback import MultiLabelReport
from kerora.tasks.multi_label.labels import read_tag_labels
from kerora.tasks.multi_label.predict import label_list
from kerora.tasks.multi_label.predictions import read_predictions

Sets = tuple[int, ...]
METRICS = LABEL_METRICS
# the value that early stopping monitors by default
METRIC = "macro_f1"
SPACE = "lora-labels"


def reader(config: FitConfig) -> LabelSetReader:
    """Return the reader of rows with labels."""
    return LabelSetReader(config.data.label_separator)


def check(metric: str, dataset: Dataset[Rows[Sets]], searched: Collection[str]) -> None:
    """Refuse the mean average precision if no validation row has a label."""
    if metric == "map" and not any(dataset["validation"].targets or ()):
        raise ConfigError("--metric map needs validation rows with labels, and none has one. Use --metric macro_f1.")


def predictions(validation: keras.callbacks.Callback, rows: Rows[Sets]) -> dict[str, np.ndarray]:
    """Return which labels are predicted for each row, bool (rows, classes), and the loss of each row as float32."""
    assert isinstance(validation, MultiLabelReport) and validation.probabilities is not None
    order, found = validation.data.order, validation.probabilities
    labels = indicators(rows.targets or [], found.shape[1])[order]
    predicted, losses = np.empty(found.shape, bool), np.empty(len(found), np.float32)
    # the batches have their own order of the rows
    predicted[order] = found >= validation.thresholds
    losses[order] = row_losses(labels, found)
    return {"predicted": predicted, "losses": losses}


def resampled(
    metric: str, predictions: Mapping[str, np.ndarray], dataset: Dataset[Rows[Sets]]
) -> Callable[[np.ndarray], float] | str:
    """Return a function that computes the loss or one of `COUNTED`."""
    if metric not in (*COUNTED, "loss"):
        return "this metric needs more than the stored predictions"
    losses = predictions["losses"].astype(np.float64)
    labels = indicators(dataset["validation"].targets or [], len(dataset.classes))
    of_weights = metrics_of_weights(labels, predictions["predicted"])

    def value(counts: np.ndarray) -> float:
        if metric == "loss":
            return float(counts @ losses / counts.sum())
        return float(of_weights(counts[None].astype(np.float64))[metric][0])

    return value


def weak(metrics: Mapping[str, Any], dataset: Dataset[Rows[Sets]]) -> str | None:
    """Return a sentence if the labels are ranked no better than by chance."""
    precision = metrics.get("map")
    labels = indicators(dataset["validation"].targets or [], len(dataset.classes))
    # the average precision of a random order is about the share of the positive rows
    chance = labels.mean(axis=0)[labels.any(axis=0)].mean() if labels.any() else 0.0
    if precision is None or precision > chance:
        return None
    return f"The labels are not ranked better than by chance: mean average precision {precision:.4f}."


def submission(run: RunFolder) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
    """Return the id and the predicted labels of each test row in predictions.csv."""
    test = read_predictions(run.predictions, read_tag_labels(run.labels))["test"]
    names = (label_list(np.flatnonzero(row), test.classes) for row in test.predicted)
    return ["id", "label"], zip(test.ids, names, strict=True)
