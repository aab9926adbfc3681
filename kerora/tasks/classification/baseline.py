"""The baseline of classifiers: TF-IDF with logistic regression, and the most frequent class."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from kerora.data.rows import Rows
from kerora.errors import DataError
from kerora.evaluation.baselines import TextFeatures
from kerora.evaluation.metrics import classification_metrics
from kerora.evaluation.significance import SIGNIFICANCE, macro_f1, matrix_difference, mcnemar
from kerora.evaluation.tested import outcome, tested
from kerora.models.classifier import TextClassifier
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import Evaluation

# enough for every data set that was tried; the optimizer ends by itself
MOST_ITERATIONS = 1000


def baseline(
    config: FitConfig, model: TextClassifier, train: Rows[int], rows: Mapping[str, Rows[int]], evaluation: Evaluation
) -> dict[str, dict[str, Any]]:
    """Fit TF-IDF with logistic regression on the training rows, and compare it with the tuned model.

    With ``--class-weights balanced``, the regression weights its classes in the same way.
    """
    targets, count = np.asarray(train.targets), len(model.classes)
    if len(np.unique(targets)) < 2:
        raise DataError(f"All training rows have the class '{model.classes[targets[0]]}'.")
    features = TextFeatures(train, outputs=1 if count == 2 else count)
    balanced = config.training.class_weights == "balanced"
    regression = _fitted(features, targets, balanced)
    name = f"{features.name} with logistic regression{' and balanced class weights' if balanced else ''}"
    # the most frequent class has the largest share, so that it is the answer for every row
    shares = np.bincount(targets, minlength=count) / len(targets)
    least = f"always '{model.classes[shares.argmax()]}'"
    found = {}
    # evaluated rows and their probabilities, as `evaluate` of this task returns them
    for split, part, own in evaluation.details:
        labels = np.asarray(part.targets)
        probabilities = np.zeros((len(part), count))
        # a class without training rows has no column in the regression
        probabilities[:, regression.classes_] = features.apply(regression.predict_proba, part)
        simplest = classification_metrics(labels, np.tile(shares, (len(part), 1)), model.classes)
        metrics = classification_metrics(labels, probabilities, model.classes)
        test = compared(labels, own.argmax(axis=1), probabilities.argmax(axis=1), count)
        found[split] = outcome(name, metrics, least, simplest, test)
    return found


def compared(labels: np.ndarray, tuned: np.ndarray, simple: np.ndarray, count: int) -> dict[str, Any]:
    """Return McNemar's test, which gives the verdict, and the difference of macro F1 with its interval.

    Args:
        labels: class numbers, shape (rows,).
        tuned: class numbers that the tuned model predicts, shape (rows,).
        simple: the same for the baseline.
        count: number of classes.
    """
    test = mcnemar(labels == tuned, labels == simple)
    facts = tested("macro_f1", matrix_difference(labels, tuned, simple, macro_f1, count))
    # the test of the comparison of two runs, so that both say the same
    verdict = "undecided" if test.p_value >= SIGNIFICANCE else "better" if test.b > test.c else "worse"
    return {**facts, "verdict": verdict, **asdict(test)}


def _fitted(features: TextFeatures, targets: np.ndarray, balanced: bool) -> LogisticRegression:
    regression = LogisticRegression(max_iter=MOST_ITERATIONS, class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        # an optimizer that is not quite at its end is still a baseline
        warnings.simplefilter("ignore", ConvergenceWarning)
        return regression.fit(features.matrix, targets)
