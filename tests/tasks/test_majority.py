"""A model that is not better than its most frequent class is called that."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from kerora.evaluation.metrics import classification_metrics
from kerora.tasks.classification.majority import majority, majority_note, supports_of

CLASSES = ("ham", "spam", "other")


def metrics_of(labels: list[int], predicted: list[int]) -> dict[str, object]:
    probabilities = np.eye(3)[predicted] * 0.8 + 0.2 / 3
    return classification_metrics(np.array(labels), probabilities, CLASSES)


def test_majority_has_the_metrics_of_the_constant_answer() -> None:
    labels = [0] * 6 + [1] * 3 + [2]
    found = majority({"ham": 6, "spam": 3, "other": 1})
    assert found is not None and found.name == "ham" and found.accuracy == 0.6
    assert found.macro_f1 == pytest.approx(f1_score(labels, [0] * 10, average="macro", zero_division=0))


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        ([0] * 10, "not better than always answering 'ham'"),
        ([1] * 10, "not better than always answering 'ham'"),
        ([0, 0, 0, 0, 1, 1, 1, 1, 0, 0], "right less often than always answering 'ham'"),
        ([0] * 6 + [1] * 4, None),
    ],
)
def test_what_is_said(predicted: list[int], said: str | None) -> None:
    metrics = metrics_of([0] * 6 + [1] * 3 + [2], predicted)
    note = majority_note("test", metrics, supports_of(metrics))
    assert note is None if said is None else note is not None and said in note, note


@pytest.mark.parametrize("supports", [{}, {"ham": 5}, {"ham": 5, "spam": 0}])
def test_rows_of_one_class_have_no_note(supports: dict[str, int]) -> None:
    assert majority_note("test", {"accuracy": 0.0, "macro_f1": 0.0}, supports) is None
