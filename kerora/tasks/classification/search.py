"""What `kerora tune` asks of classification."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerora.data.labelled import LabelledReader
from kerora.data.rows import Dataset, Rows
from kerora.evaluation.metrics import SINGLE_METRICS, cross_entropies
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.classification.callback import ClassificationReport
from kerora.tasks.classification.majority import majority_note
from kerora.tasks.classification.results import read_predictions
from kerora.tasks.classification.task import check_defined

METRICS = SINGLE_METRICS
# the value that early stopping monitors by default
METRIC = "macro_f1"
SPACE = "lora"
RESAMPLED = (
    "loss",
    "accuracy",
    *(f"{average}_{name}" for average in ("macro", "weighted") for name in ("precision", "recall", "f1")),
    "mcc",
)
"""The metrics that can be computed from the stored predictions. ROC AUC and the calibration error need more."""


def reader(config: FitConfig) -> LabelledReader:
    """Return the reader of labelled rows."""
    return LabelledReader()


def check(metric: str, dataset: Dataset[Rows[int]], searched: Collection[str]) -> None:
    """Refuse a metric that the classes of the validation rows leave undefined."""
    check_defined(metric, f"--metric {metric}", dataset)


def predictions(validation: keras.callbacks.Callback, rows: Rows[int]) -> dict[str, np.ndarray]:
    """Return the predicted class number of each row, and the probability of its true class as float32."""
    assert isinstance(validation, ClassificationReport) and validation.probabilities is not None
    probabilities, order = validation.probabilities, validation.data.order
    labels = np.asarray(rows.targets)[order]
    # the smallest type that holds every class number
    predicted = np.empty(len(labels), np.min_scalar_type(probabilities.shape[1] - 1))
    true_probability = np.empty(len(labels), np.float32)
    # the batches have their own order of the rows
    predicted[order] = probabilities.argmax(axis=1)
    true_probability[order] = probabilities[np.arange(len(labels)), labels]
    return {"predicted": predicted, "true_probability": true_probability}


def resampled(
    metric: str, predictions: Mapping[str, np.ndarray], dataset: Dataset[Rows[int]]
) -> Callable[[np.ndarray], float] | str:
    """Return a function that computes one of `RESAMPLED`."""
    if metric not in RESAMPLED:
        return "this metric needs more than the stored predictions"
    labels, classes = np.asarray(dataset["validation"].targets), len(dataset.classes)
    predicted = predictions["predicted"].astype(np.int64)
    losses = cross_entropies(predictions["true_probability"].astype(np.float64))
    right = predicted == labels

    def value(counts: np.ndarray) -> float:
        if metric == "loss":
            return float(counts @ losses / counts.sum())
        # not a confusion matrix, which would have a cell for each pair of classes
        hits = np.bincount(labels[right], weights=counts[right], minlength=classes)
        support = np.bincount(labels, weights=counts, minlength=classes)
        return metric_of_counts(hits, support, np.bincount(predicted, weights=counts, minlength=classes), metric)

    return value


def metric_of_counts(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray, metric: str) -> float:
    """Return a metric with the definition of `classification_metrics`.

    Args:
        hits: rows of each class that are predicted right, (classes,).
        support: rows of each class, (classes,).
        predicted: rows that are predicted as each class, (classes,).
        metric: one of `RESAMPLED` without the loss.
    """
    total = support.sum()
    if metric == "accuracy":
        return float(hits.sum() / total)
    if metric == "mcc":
        # the correlation of several classes (Gorodkin 2004), 0 if all labels or all predictions are one class
        spread = (total**2 - (predicted**2).sum()) * (total**2 - (support**2).sum())
        return float((hits.sum() * total - (support * predicted).sum()) / np.sqrt(spread)) if spread else 0.0
    average, _, name = metric.partition("_")
    above, below = {
        "precision": (hits, predicted),
        "recall": (hits, support),
        "f1": (2 * hits, support + predicted),  # 2 TP / (2 TP + FP + FN)
    }[name]
    # at least 1: a class without rows or predictions has 0 in both, and the value 0 as in scikit-learn
    each = above / np.maximum(below, 1)
    return float(each.mean() if average == "macro" else (each * support).sum() / total)


def weak(metrics: Mapping[str, Any], dataset: Dataset[Rows[int]]) -> str | None:
    """Return a sentence if the model is not better than always answering the most frequent class."""
    counts = np.bincount(np.asarray(dataset["validation"].targets), minlength=len(dataset.classes))
    supports = dict(zip(dataset.classes, map(int, counts), strict=True))
    return majority_note("validation", metrics, supports)


def submission(run: RunFolder) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    """Return the id and the predicted class of each test row in predictions.csv."""
    test = read_predictions(run.predictions)["test"]
    return ["id", "label"], zip(test.ids, (test.classes[number] for number in test.predicted), strict=True)
