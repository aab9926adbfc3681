"""The metrics of a classifier on labelled rows."""

from typing import Any

import numpy as np

from kerora.data.rows import Rows
from kerora.evaluation.metrics import classification_metrics
from kerora.evaluation.predictions import predict_probabilities
from kerora.models.classifier import TextClassifier


def evaluate_rows(
    model: TextClassifier, rows: Rows, batch_size: int = 64, *, cache: bool = False
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the metrics of labelled rows, and their probabilities (rows, classes)."""
    probabilities = predict_probabilities(model, rows, batch_size, cache=cache)
    return classification_metrics(np.asarray(rows.targets), probabilities, model.classes), probabilities
