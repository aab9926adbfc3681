"""The baseline of several labels per text against scikit-learn's own pipeline, and its test."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from kerora.data.rows import Rows, indicators
from kerora.errors import DataError
from kerora.evaluation.thresholds import best_thresholds
from kerora.settings.resolve import resolve
from kerora.tasks.contract import Evaluation
from kerora.tasks.multi_label.baseline import baseline

CLASSES = ("late", "broken", "rude", "never")
GENERATOR = np.random.default_rng(0)


def rows(count: int) -> Rows[tuple[int, ...]]:
    sets = [tuple(np.flatnonzero(GENERATOR.random(3) < (0.6, 0.3, 0.1)).tolist()) for _ in range(count)]
    texts = ["thing " + " ".join([CLASSES[n] for n in labels] + ["parcel"] * (n % 3)) for n, labels in enumerate(sets)]
    return Rows.numbered(texts, sets)


TRAIN, VALIDATION, TEST = rows(120), rows(50), rows(50)


def run_baseline(train: Rows[tuple[int, ...]], **settings: Any) -> Any:
    """The tuned model is as unsure of every label."""
    parts = {"validation": VALIDATION, "test": TEST}
    even = [(split, part, np.full((len(part), len(CLASSES)), 0.5)) for split, part in parts.items()]
    model: Any = SimpleNamespace(classes=CLASSES, thresholds=np.full(len(CLASSES), 0.5))
    metrics = {
        split: {"macro_f1": f1_score(indicators(part.targets or [], 4), np.ones((len(part), 4)), average="macro")}
        for split, part in parts.items()
    }
    return baseline(resolve(settings), model, train, parts, Evaluation(metrics, even))


@pytest.mark.filterwarnings("ignore:Label not .* is present in all training examples")
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_scikit_learn_gives_the_same_numbers(weights: str) -> None:
    found = run_baseline(TRAIN, **{"training.class_weights": weights})["test"]
    balanced = None if weights == "none" else "balanced"
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        OneVsRestClassifier(LogisticRegression(solver="liblinear", class_weight=balanced)),
    ).fit(list(TRAIN.texts), indicators(TRAIN.targets or [], 4).astype(int))
    truth = indicators(TEST.targets or [], 4)
    limits = best_thresholds(indicators(VALIDATION.targets or [], 4), plain.predict_proba(list(VALIDATION.texts)))
    scores = plain.predict_proba(list(TEST.texts))
    assert found["macro_f1"] == f1_score(truth, scores >= limits, average="macro", zero_division=0)
    assert found["map"] == pytest.approx(average_precision_score(truth[:, :3], scores[:, :3], average="macro"))
    assert found["per_class"]["late"]["threshold"] == pytest.approx(limits[0])
    # the words are the labels, and the model gives every label
    assert found["test"]["metric"] == "macro_f1" and found["test"]["verdict"] == "worse"
    assert found["name"].endswith("balanced class weights") == (weights == "balanced")


def test_the_answer_without_a_text_is_as_many_frequent_labels_as_a_row_has() -> None:
    least = run_baseline(TRAIN)["test"]["majority"]
    assert least["name"] == "always 'late'"
    truth = indicators(TEST.targets or [], 4)
    answers = np.tile(np.array([True, False, False, False]), (len(truth), 1))
    assert least["micro_f1"] == f1_score(truth, answers, average="micro")


def test_a_fixed_threshold_is_that_of_the_baseline_too() -> None:
    assert run_baseline(TRAIN, **{"training.threshold": 0.3})["test"]["per_class"]["rude"]["threshold"] == 0.3


def test_rows_without_any_label_allow_no_baseline() -> None:
    with pytest.raises(DataError, match="No training row has a label"):
        run_baseline(Rows.numbered(["a text", "other words"], [(), ()]))
