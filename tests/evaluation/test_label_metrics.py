"""Metrics of several labels against scikit-learn, and their bootstrap against plain loops."""

import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics

from kerora.evaluation.directions import is_lower_better
from kerora.evaluation.label_bootstrap import (
    COUNTED,
    drawn,
    intervals,
    mean_average_precision,
    paired_differences,
    resampled,
    standard_errors,
)
from kerora.evaluation.label_metrics import LABEL_METRICS, label_metrics


def example(seed: int, rows: int = 60, classes: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.random((rows, classes)) < np.linspace(0.05, 0.6, classes)
    probabilities = np.clip(0.5 * labels + 0.7 * generator.random((rows, classes)), 0, 1)
    return labels, probabilities, generator.uniform(0.3, 0.8, classes)


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_gives_the_same(seed: int) -> None:
    labels, probabilities, thresholds = example(seed)
    found = label_metrics(labels, probabilities, list("abcde"), thresholds)
    truth, answers = labels.astype(int), (probabilities >= thresholds).astype(int)
    for average in ("micro", "macro", "weighted"):
        assert found[f"{average}_f1"] == metrics.f1_score(truth, answers, average=average, zero_division=0)
    assert found["samples_f1"] == metrics.f1_score(truth, answers, average="samples", zero_division=1.0)
    assert found["macro_f1_at_half"] == metrics.f1_score(truth, probabilities >= 0.5, average="macro", zero_division=0)
    assert found["hamming_loss"] == metrics.hamming_loss(truth, answers)
    assert found["subset_accuracy"] == metrics.accuracy_score(truth, answers)
    assert found["ranking_loss"] == metrics.label_ranking_loss(truth, probabilities)
    present = truth.any(axis=0)
    wanted = metrics.average_precision_score(truth[:, present], probabilities[:, present], average="macro")
    assert found["map"] == pytest.approx(wanted)
    wanted = torch.nn.functional.binary_cross_entropy(torch.tensor(probabilities), torch.tensor(truth, dtype=float))
    assert found["loss"] == pytest.approx(wanted.item(), rel=1e-6)
    assert set(found) == {*LABEL_METRICS, "per_class"}
    report = metrics.classification_report(
        truth, answers, target_names=list("abcde"), output_dict=True, zero_division=0
    )
    for number, (name, values) in enumerate(found["per_class"].items()):
        assert values["f1"] == report[name]["f1-score"] and values["support"] == report[name]["support"]
        assert values["threshold"] == thresholds[number]


def test_labels_without_rows_and_rows_without_labels() -> None:
    labels = np.array([[1, 0], [0, 0]], bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = label_metrics(labels, np.array([[0.9, 0.1], [0.2, 0.3]]), ["a", "b"], np.array([0.5, 0.5]))
        none = label_metrics(~labels & False, np.full((2, 2), 0.1), ["a", "b"], np.array([0.5, 0.5]))
    assert found["macro_f1"] == 0.5 and found["map"] == 1.0 and found["samples_f1"] == 1.0
    assert found["per_class"]["b"]["average_precision"] is None
    assert none["map"] is None and none["subset_accuracy"] == 1.0 and none["samples_f1"] == 1.0


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match="at least one row and shape"):
        label_metrics(np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"], np.array([0.5, 0.5]))


@pytest.mark.parametrize("name", LABEL_METRICS)
def test_every_metric_has_a_direction(name: str) -> None:
    assert is_lower_better(f"val_{name}") is name.endswith("loss")


def test_a_resample_is_the_metrics_of_its_rows() -> None:
    labels, probabilities, thresholds = example(3, rows=30)
    predicted = probabilities >= thresholds
    found = resampled(labels, predicted, samples=4, seed=5)
    generator = np.random.default_rng(5)
    weights = drawn(30, 4, generator)
    for sample, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(30), counts)
        wanted = label_metrics(labels[rows], probabilities[rows], list("abcde"), thresholds)
        for name in COUNTED:
            assert found[name][sample] == pytest.approx(wanted[name]), name
    precision = mean_average_precision(labels, probabilities, 4, seed=5)
    for sample, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(30), counts)
        wanted = label_metrics(labels[rows], probabilities[rows], list("abcde"), thresholds)
        assert precision[sample] == pytest.approx(wanted["map"])


def test_intervals_and_errors() -> None:
    labels, probabilities, thresholds = example(1, rows=400)
    predicted = probabilities >= thresholds
    found = label_metrics(labels, probabilities, list("abcde"), thresholds)
    for name, (low, high) in intervals(labels, predicted).items():
        assert low < found[name] < high
    errors = standard_errors(labels, probabilities, predicted, probabilities >= 0.5)
    assert set(errors) == set(LABEL_METRICS) - {"ranking_loss"} and all(0 < value < 0.1 for value in errors.values())
    fewer = standard_errors(labels[:50], probabilities[:50], predicted[:50], probabilities[:50] >= 0.5)
    assert fewer["micro_f1"] > errors["micro_f1"]


def test_paired_differences() -> None:
    labels, probabilities, thresholds = example(2, rows=500)
    good, bad = probabilities >= thresholds, np.random.default_rng(0).random(labels.shape) < 0.3

    def macro(answers: np.ndarray) -> float:
        return float(metrics.f1_score(labels, answers, average="macro"))

    one = paired_differences(labels, good, bad, {"macro_f1": macro(good) - macro(bad)})["macro_f1"]
    assert one.low < one.value < one.high and one.low > 0 and one.p_value < 0.01
    same = paired_differences(labels, good, good, {"macro_f1": 0.0})["macro_f1"]
    assert same.p_value == 1.0 and same.low == same.high == 0.0
