"""The baseline of classifiers against scikit-learn's own pipeline, and its tests."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from kerora.data.rows import Rows
from kerora.data.sources import load_dataset
from kerora.errors import DataError
from kerora.evaluation.metrics import classification_metrics
from kerora.settings.resolve import resolve
from kerora.tasks.classification.baseline import baseline, compared
from kerora.tasks.contract import Evaluation


def run_baseline(train: Rows[int], rows: dict[str, Rows[int]], classes: tuple[str, ...], **settings: Any) -> Any:
    """The tuned model gives every class the same probability: it always answers the first class."""
    even = [(split, part, np.full((len(part), len(classes)), 1 / len(classes))) for split, part in rows.items()]
    model: Any = SimpleNamespace(classes=classes)
    return baseline(resolve(settings), model, train, rows, Evaluation({}, even))


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_scikit_learn_gives_the_same_numbers(weights: str) -> None:
    data = load_dataset({"source": "tickets", "subset": 150})
    rows = {split: data[split] for split in ("validation", "test")}
    found = run_baseline(data["train"], rows, data.classes, **{"training.class_weights": weights})
    balanced = None if weights == "none" else "balanced"
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(max_iter=1000, class_weight=balanced),
    ).fit(list(data["train"].texts), data["train"].targets)
    least = DummyClassifier(strategy="prior").fit(list(data["train"].texts), data["train"].targets)
    for split, part in rows.items():
        labels, texts = np.asarray(part.targets), list(part.texts)
        wanted = classification_metrics(labels, plain.predict_proba(texts), data.classes)
        assert {key: found[split][key] for key in wanted} == wanted
        own = found[split]["majority"]
        assert own.pop("name").startswith("always '")
        assert own == classification_metrics(labels, least.predict_proba(texts), data.classes)
        test = found[split]["test"]
        assert test["verdict"] == "worse" and test["metric"] == "macro_f1"
        first = np.zeros(len(labels), int)
        difference = f1_score(labels, first, average="macro") - found[split]["macro_f1"]
        assert test["difference"] == pytest.approx(difference) and test["low"] < difference < test["high"] < 0
        assert test["b"] == int(np.sum((labels == 0) & (plain.predict(texts) != labels)))
    assert found["test"]["name"].endswith("balanced class weights") == (weights == "balanced")


def test_a_class_without_training_rows_gets_no_probability() -> None:
    train = Rows.numbered(["good film", "bad film", "good", "bad"] * 5, [0, 2, 0, 2] * 5)
    part = Rows.numbered(["good", "bad", "odd"], [0, 2, 1])
    found = run_baseline(train, {"test": part}, ("good", "odd", "bad"))["test"]
    assert found["accuracy"] == pytest.approx(2 / 3) and found["per_class"]["odd"]["recall"] == 0


def test_one_class_has_no_baseline() -> None:
    with pytest.raises(DataError, match="All training rows have the class 'no'"):
        run_baseline(Rows.numbered(["a b", "c d"], [1, 1]), {}, ("yes", "no"))


def test_the_verdict_is_that_of_mcnemars_test() -> None:
    labels = np.arange(300) % 3
    good, poor = labels.copy(), labels.copy()
    good[:20], poor[:60] = (labels[:20] + 1) % 3, (labels[:60] + 1) % 3
    better, worse, same = (
        compared(labels, good, poor, 3),
        compared(labels, poor, good, 3),
        compared(labels, good, good, 3),
    )
    assert (better["verdict"], worse["verdict"], same["verdict"]) == ("better", "worse", "undecided")
    assert (better["b"], better["c"]) == (40, 0) and better["low"] > 0 > worse["high"]
    assert same["p_value"] == 1 and same["low"] == same["difference"] == same["high"] == 0
