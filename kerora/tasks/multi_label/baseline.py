"""The baseline of several labels per text: TF-IDF with a logistic regression for each label, and the most frequent."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from kerora.data.rows import Rows, indicators
from kerora.errors import DataError
from kerora.evaluation.baselines import TextFeatures
from kerora.evaluation.label_bootstrap import paired_differences
from kerora.evaluation.label_metrics import label_metrics
from kerora.evaluation.tested import outcome, tested
from kerora.evaluation.thresholds import HALF, best_thresholds
from kerora.models.multi_label import MultiLabelClassifier
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import Evaluation

Sets = tuple[int, ...]
TESTED = "macro_f1"


def baseline(
    config: FitConfig,
    model: MultiLabelClassifier,
    train: Rows[Sets],
    rows: Mapping[str, Rows[Sets]],
    evaluation: Evaluation,
) -> dict[str, dict[str, Any]]:
    """Fit TF-IDF with logistic regressions on the training rows, and compare them with the tuned model.

    The thresholds are chosen as for the model: on the validation rows, or that of the settings. With ``--class-weights
    balanced``, the regressions weight their positive rows in the same way.
    """
    targets = indicators(train.targets or [], len(model.classes))
    if not targets.any():
        raise DataError("No training row has a label.")
    features = TextFeatures(train)
    balanced = config.training.class_weights == "balanced"
    regressions = _fitted(features, targets, balanced)
    scored = {split: (part, features.apply(regressions.predict_proba, part)) for split, part, _ in evaluation.details}
    thresholds = _thresholds(config, scored, len(model.classes))
    shares = targets.mean(axis=0)
    always = _most_frequent(shares, targets)
    least = f"always {', '.join(repr(model.classes[number]) for number in np.flatnonzero(always))}"
    name = f"{features.name} with logistic regressions{' and balanced class weights' if balanced else ''}"
    found = {}
    # evaluated rows and their probabilities, as `evaluate` of this task returns them
    for split, part, own in evaluation.details:
        labels = indicators(part.targets or [], len(model.classes))
        simple = scored[split][1]
        metrics = label_metrics(labels, simple, model.classes, thresholds)
        ones = (len(labels), 1)
        simplest = label_metrics(labels, np.tile(shares, ones), model.classes, thresholds, np.tile(always, ones))
        answers, others = own >= model.thresholds, simple >= thresholds
        value = evaluation.metrics[split][TESTED] - metrics[TESTED]
        difference = paired_differences(labels, answers, others, {TESTED: value})[TESTED]
        found[split] = outcome(name, metrics, least, simplest, tested(TESTED, difference))
    return found


def _fitted(features: TextFeatures, targets: np.ndarray, balanced: bool) -> OneVsRestClassifier:
    # liblinear needs a tenth of the time of lbfgs for a single output
    regression = LogisticRegression(solver="liblinear", class_weight="balanced" if balanced else None)
    with warnings.catch_warnings():
        # a label that no training row has, or that all have, gets a constant
        warnings.simplefilter("ignore", UserWarning)
        return OneVsRestClassifier(regression).fit(features.matrix, targets.astype(np.int64))


def _thresholds(config: FitConfig, scored: Mapping[str, tuple[Rows[Sets], np.ndarray]], classes: int) -> np.ndarray:
    fixed = config.training.threshold
    if fixed is not None or "validation" not in scored:
        return np.full(classes, HALF if fixed is None else fixed)
    part, probabilities = scored["validation"]
    return best_thresholds(indicators(part.targets or [], classes), probabilities)


def _most_frequent(shares: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the answer that needs no text, bool (classes,): as many of the frequent labels as a row has on average."""
    count = max(1, round(float(targets.sum(axis=1).mean())))
    found = np.zeros(len(shares), bool)
    found[np.argsort(-shares, kind="stable")[:count]] = True
    return found
