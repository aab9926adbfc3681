"""The metrics of classifiers, computed by scikit-learn, and of language models.

Fit, evaluate, report and the callbacks all call these functions, so they give the same numbers.
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
# keeps the loss finite when a true class has probability 0
_SMALLEST_PROBABILITY = 1e-12


def classification_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    loss: float | None = None,
    predicted: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the metrics that metrics.json holds for one split.

    Precision, recall and F1 of a class without rows or without predictions are 0, also in the averages.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: finite numbers, shape (rows, classes).
        classes: class names in the order of their numbers.
        loss: mean cross entropy in nats. None computes it from the probabilities.
        predicted: class numbers, shape (rows,). None takes the most probable class. Ties go to the first class.

    Returns:
        ``loss, accuracy, macro_precision, macro_recall, macro_f1, weighted_precision, weighted_recall,
        weighted_f1, mcc, roc_auc, ece`` as floats (``roc_auc`` is None where it is undefined) and
        ``per_class``: ``{name: {precision, recall, f1, support}}``.

    Raises:
        ValueError: there are no rows, or the shapes do not fit together.
    """
    # float64, because a float32 mean over many rows loses digits
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
    """Return the standard errors of the metrics: how much they would vary with other rows of the same kind.

    For the loss, this is the standard error of the mean over rows. The other metrics are treated as shares of rows,
    like accuracy: ``sqrt(p (1 - p) / (n + 4))`` with ``p = (n value + 2) / (n + 4)`` (Agresti and Coull 1998). This
    value is never 0. For averages over classes it is an approximation.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: shape (rows, classes).
        metrics: what `classification_metrics` returns for these rows.
    """
    rows = len(labels)
    # the probability that each row gives to its true class, (rows,)
    true = np.clip(probabilities[np.arange(rows), labels], _SMALLEST_PROBABILITY, 1.0)
    errors = {"loss": float(np.log(true).std() / math.sqrt(rows))}
    for name in SINGLE_METRICS[1:]:
        if metrics.get(name) is not None:
            # MCC can be negative and is not a share: it is clipped to 0 to 1 first
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
        # math.exp overflows above 709
        "perplexity": math.exp(loss) if loss < 700 else None,
        # nats / ln 2 are bits
        "bits_per_byte": total / math.log(2) / size if size > 0 else None,
        "tokens": tokens,
    }


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean cross entropy in nats. Probabilities below 1e-12 count as 1e-12."""
    return float(cross_entropies(probabilities[np.arange(len(labels)), labels]).mean())


def cross_entropies(true: np.ndarray) -> np.ndarray:
    """Return the cross entropy of each row in nats, from the probability of its true class, both (rows,)."""
    return np.asarray(-np.log(np.clip(true, _SMALLEST_PROBABILITY, 1.0)))


def roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the area under the ROC curve.

    With two classes it is the area for class 1. With more it is the plain mean over classes, each against the rest.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: scores of shape (rows, classes).

    Returns:
        The area. None if it is undefined: a class has no rows, or there is only one class.
    """
    count = probabilities.shape[1]
    if count < 2 or len(np.unique(labels)) < count:
        return None
    if count == 2:
        return float(sklearn_metrics.roc_auc_score(labels, probabilities[:, 1]))
    # not multi_class='ovr', which needs rows with the sum 1: the six decimals of predictions.csv can miss it
    one_hot = np.eye(count, dtype=np.int64)[labels]
    return float(sklearn_metrics.roc_auc_score(one_hot, probabilities, average="macro"))


@dataclass(frozen=True)
class Calibration:
    """The accuracy by confidence.

    Attributes:
        error: the expected calibration error, from 0 (calibrated) to 1.
        counts: rows per bin, shape (bins,).
        confidence: mean confidence per bin, shape (bins,). 0 in an empty bin.
        accuracy: accuracy per bin, shape (bins,). 0 in an empty bin.
    """

    error: float
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def calibration(
    labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, bins: int = CALIBRATION_BINS
) -> Calibration:
    """Return the expected calibration error and the bins of the reliability diagram.

    All bins have the same width. They are open below and closed above: Guo et al. 2017, "On Calibration of Modern
    Neural Networks" (arXiv:1706.04599), equation 3. The confidence is the probability of the predicted class.

    Args:
        labels: class numbers, shape (rows,).
        probabilities: shape (rows, classes).
        predicted: class numbers, shape (rows,).
        bins: number of bins.
    """
    confidence = probabilities[np.arange(len(predicted)), predicted]
    edges = np.linspace(0.0, 1.0, bins + 1)
    # "left" puts a confidence on an edge into the bin below it, as the paper does; the clip keeps 0 in the first bin
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    # an empty bin has the sum 0, and 0 / 1 is 0 without a warning of numpy
    present = np.maximum(counts, 1)
    mean_confidence = np.bincount(places, weights=confidence, minlength=bins) / present
    mean_accuracy = np.bincount(places, weights=labels == predicted, minlength=bins) / present
    error = float((counts * np.abs(mean_accuracy - mean_confidence)).sum() / max(len(labels), 1))
    return Calibration(error, counts, mean_confidence, mean_accuracy)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Return the confusion matrix. Rows are true classes and columns are predicted classes.

    Args:
        labels: class numbers, shape (rows,).
        predicted: class numbers, shape (rows,).
        count: number of classes.

    Returns:
        Counts of shape (count, count).
    """
    # without `labels`, scikit-learn leaves out classes that have no rows
    return np.asarray(sklearn_metrics.confusion_matrix(labels, predicted, labels=range(count)))


def row_percent(matrix: np.ndarray) -> np.ndarray:
    """Return each row of a confusion matrix in per cent of its sum. An empty row is 0."""
    return np.asarray(100.0 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))


def classification_report_text(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> str:
    """Return scikit-learn's classification report with four digits and one line per class."""
    # a line break in a class name would break the table
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
        # Rows of a single class are allowed here. Their MCC is 0 by definition.
        warnings.filterwarnings("ignore", message="A single label was found")
        return float(sklearn_metrics.matthews_corrcoef(labels, predicted))


def _per_class(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    # average None gives one value per class; the four arrays become one tuple per class
    columns = zip(*_precision_recall_f1(labels, predicted, len(classes), None), strict=True)
    return {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
        for name, (precision, recall, f1, support) in zip(classes, columns, strict=True)
    }
