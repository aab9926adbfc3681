"""The metrics of a classifier, computed by scikit-learn, and those of a language model.

Fit, evaluate, report and the callbacks all call these functions, so that they cannot disagree.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics as sklearn_metrics

CALIBRATION_BINS = 15
SINGLE_METRICS = (
    "loss",
    "accuracy",
    *(f"{average}_{name}" for average in ("macro", "weighted") for name in ("precision", "recall", "f1")),
    "mcc",
    "roc_auc",
    "ece",
)
"""The single-number metrics of `classification_metrics`."""
LANGUAGE_METRICS = ("loss", "perplexity", "bits_per_byte")
"""The single-number metrics of `language_metrics`."""
_SMALLEST_PROBABILITY = 1e-12


def classification_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    loss: float | None = None,
    predicted: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the metrics that metrics.json holds for one split.

    Precision, recall and F1 of a class without rows or predictions count as 0, also in the averages.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: finite numbers, shape (rows, classes).
        classes: class names in the order of their numbers.
        loss: mean cross entropy in nats; None computes it from the probabilities.
        predicted: class numbers, shape (rows,); None takes the most probable class, the first of equals.

    Returns:
        ``loss, accuracy, macro_precision, macro_recall, macro_f1, weighted_precision, weighted_recall,
        weighted_f1, mcc, roc_auc, ece`` as floats (``roc_auc`` is None where it is undefined) and
        ``per_class``: ``{name: {precision, recall, f1, support}}``.

    Raises:
        ValueError: there are no rows, or the shapes do not fit together.
    """
    labels, probabilities = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if not len(labels) or probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"labels must hold at least one row and probabilities must have shape (rows, {len(classes)}). "
            f"Received: shapes {labels.shape} and {probabilities.shape}"
        )
    predicted = probabilities.argmax(axis=1) if predicted is None else np.asarray(predicted, dtype=np.int64)
    values = {
        "loss": cross_entropy(labels, probabilities) if loss is None else float(loss),
        "accuracy": float(np.mean(labels == predicted)),
    }
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = _precision_recall_f1(labels, predicted, len(classes), average)
        values |= {f"{average}_precision": float(precision)}
        values |= {f"{average}_recall": float(recall), f"{average}_f1": float(f1)}
    return {
        **values,
        "mcc": _matthews(labels, predicted),
        "roc_auc": roc_auc(labels, probabilities),
        "ece": calibration(labels, probabilities, predicted).error,
        "per_class": _per_class(labels, predicted, classes),
    }


def standard_errors(labels: np.ndarray, probabilities: np.ndarray, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return how far the metrics would move if other rows of the same kind were measured.

    That of the loss is the standard error of the rows' mean. The others are taken for shares of the rows, as accuracy
    is: ``sqrt(p (1 - p) / (n + 4))`` with p = ``(n value + 2) / (n + 4)``, which no value makes 0 (Agresti and Coull
    1998). For averages over classes that is an approximation.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: shape (rows, classes).
        metrics: what `classification_metrics` returns for them.
    """
    rows = len(labels)
    true = np.clip(probabilities[np.arange(rows), labels], _SMALLEST_PROBABILITY, 1.0)
    errors = {"loss": float(np.log(true).std() / math.sqrt(rows))}
    for name in SINGLE_METRICS[1:]:
        if metrics.get(name) is not None:
            share = (rows * min(1.0, max(0.0, metrics[name])) + 2) / (rows + 4)
            errors[name] = math.sqrt(share * (1 - share) / (rows + 4))
    return errors


def language_metrics(total: float, tokens: int, size: int) -> dict[str, Any]:
    """Return what metrics.json holds for a split of a language model.

    Args:
        total: sum of the tokens' losses in nats.
        tokens: how many tokens were predicted.
        size: bytes in UTF-8 of the text that they stand for.

    Returns:
        ``loss`` (nats a token), ``perplexity`` (its exponential), ``bits_per_byte`` (which does not depend on the
        tokenizer) and ``tokens``; None where there is no token or the number is too large.
    """
    if not tokens:
        return {"loss": None, "perplexity": None, "bits_per_byte": None, "tokens": 0}
    loss = total / tokens
    return {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else None,
        "bits_per_byte": total / math.log(2) / size if size > 0 else None,
        "tokens": tokens,
    }


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean cross entropy in nats, with probabilities below 1e-12 raised to it."""
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(true, _SMALLEST_PROBABILITY, 1.0)).mean())


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the area under the ROC curve.

    With two classes that of class 1; with more the plain mean over classes of one against the rest.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: scores of shape (rows, classes).

    Returns:
        None where it is undefined: some class has no rows, or there is only one class.
    """
    count = probabilities.shape[1]
    if count < 2 or len(np.unique(labels)) < count:
        return None
    if count == 2:
        return float(sklearn_metrics.roc_auc_score(labels, probabilities[:, 1]))
    one_hot = np.eye(count, dtype=np.int64)[labels]
    return float(sklearn_metrics.roc_auc_score(one_hot, probabilities, average="macro"))


@dataclass(frozen=True)
class Calibration:
    """How confidence and accuracy go together.

    Attributes:
        error: the expected calibration error, from 0 (calibrated) to 1.
        counts: rows a bin, shape (bins,).
        confidence: mean confidence a bin, 0 where the bin is empty, shape (bins,).
        accuracy: accuracy a bin, 0 where the bin is empty, shape (bins,).
    """

    error: float
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def calibration(
    labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, bins: int = CALIBRATION_BINS
) -> Calibration:
    """Return the expected calibration error and the bins of the reliability diagram.

    Bins are equally wide, open below and closed above: Guo et al. 2017, "On Calibration of Modern
    Neural Networks" (arXiv:1706.04599), equation 3. The confidence is that of the predicted class.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: shape (rows, classes).
        predicted: class numbers, shape (rows,).
        bins: number of bins.
    """
    confidence = probabilities[np.arange(len(predicted)), predicted]
    edges = np.linspace(0.0, 1.0, bins + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    present = np.maximum(counts, 1)
    mean_confidence = np.bincount(places, weights=confidence, minlength=bins) / present
    mean_accuracy = np.bincount(places, weights=labels == predicted, minlength=bins) / present
    error = float((counts * np.abs(mean_accuracy - mean_confidence)).sum() / max(len(labels), 1))
    return Calibration(error, counts, mean_confidence, mean_accuracy)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Return the confusion matrix: rows are true classes, columns predicted ones.

    Args:
        labels: class numbers, shape (rows,).
        predicted: class numbers, shape (rows,).
        count: number of classes.

    Returns:
        Counts of shape (count, count).
    """
    return np.asarray(sklearn_metrics.confusion_matrix(labels, predicted, labels=range(count)))


def row_percent(matrix: np.ndarray) -> np.ndarray:
    """Return each row of a confusion matrix in per cent of its sum; 0 where the row is empty."""
    return np.asarray(100.0 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))


def classification_report_text(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> str:
    """Return scikit-learn's classification report, four digits, one line a class."""
    names = [" ".join(name.split()) for name in classes]
    report = sklearn_metrics.classification_report(
        labels, predicted, labels=range(len(classes)), target_names=names, digits=4, zero_division=0
    )
    return str(report)


def _precision_recall_f1(labels: np.ndarray, predicted: np.ndarray, count: int, average: str | None) -> Any:
    return sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(count), average=average, zero_division=0
    )


def _matthews(labels: np.ndarray, predicted: np.ndarray) -> float:
    with warnings.catch_warnings():
        # A single class among the rows is legitimate here, and defined as 0.
        warnings.filterwarnings("ignore", message="A single label was found")
        return float(sklearn_metrics.matthews_corrcoef(labels, predicted))


def _per_class(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    columns = zip(*_precision_recall_f1(labels, predicted, len(classes), None), strict=True)
    return {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
        for name, (precision, recall, f1, support) in zip(classes, columns, strict=True)
    }
