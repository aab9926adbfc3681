"""What a search of several labels per text stores and resamples, against scikit-learn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from kerora.data.rows import Dataset, Rows, indicators
from kerora.errors import ConfigError
from kerora.evaluation.label_metrics import row_losses
from kerora.settings.resolve import resolve
from kerora.tasks.multi_label.callback import MultiLabelReport
from kerora.tasks.multi_label.search import check, predictions, resampled, weak
from kerora.tasks.multi_label.task import check as check_settings
from kerora.tuning.packing import pack, unpack

GENERATOR = np.random.default_rng(1)
SETS = [tuple(np.flatnonzero(GENERATOR.random(4) < 0.4).tolist()) for _ in range(30)]
ROWS = Rows.numbered([f"text {n}" for n in range(30)], SETS)
DATA: Dataset[Any] = Dataset("made", ("a", "b", "c", "d"), {"validation": ROWS})
PROBABILITIES, ORDER = GENERATOR.random((30, 4)), GENERATOR.permutation(30)
THRESHOLDS = np.array([0.2, 0.5, 0.6, 0.4])


def stored() -> dict[str, np.ndarray]:
    report: Any = MultiLabelReport(SimpleNamespace(order=ORDER))
    # the callback sees the rows in the order of its batches
    report.probabilities, report.thresholds = PROBABILITIES[ORDER], THRESHOLDS
    text = pack(predictions(report, ROWS))
    assert text is not None
    return unpack(text)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_resampled_metric_is_that_of_the_repeated_rows(seed: int) -> None:
    counts = np.random.default_rng(seed).multinomial(30, np.full(30, 1 / 30))
    rows = np.repeat(np.arange(30), counts)
    truth, scores = indicators(SETS, 4)[rows], PROBABILITIES[rows]
    answers = scores >= THRESHOLDS
    wanted = {
        "macro_f1": metrics.f1_score(truth, answers, average="macro", zero_division=0),
        "samples_f1": metrics.f1_score(truth, answers, average="samples", zero_division=1.0),
        "hamming_loss": metrics.hamming_loss(truth, answers),
        "subset_accuracy": metrics.accuracy_score(truth, answers),
        "loss": row_losses(truth, scores).mean(),
    }
    for name, value in wanted.items():
        function = resampled(name, stored(), DATA)
        assert not isinstance(function, str)
        assert function(counts) == pytest.approx(value, rel=1e-5)
    assert resampled("map", stored(), DATA) == "this metric needs more than the stored predictions"


def test_labels_ranked_by_chance_are_told() -> None:
    share = indicators(SETS, 4).mean()
    assert weak({"map": share / 2}, DATA) is not None and weak({"map": 0.9}, DATA) is None
    with pytest.raises(ConfigError, match="none has one. Use --metric macro_f1"):
        check("map", Dataset("made", ("a", "b"), {"validation": Rows.numbered(["x"], [()])}), [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.sampling": "balanced"}, "--sampling balanced needs rows with one class"),
        ({"training.calibrate": True}, "--calibrate is for one class per text"),
    ],
)
def test_settings_for_one_class_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(resolve(settings), DATA)
