"""Settings of classifiers that do not fit the data."""

import pytest

from kerora.data.rows import Dataset, Rows
from kerora.errors import ConfigError
from kerora.settings.resolve import resolve
from kerora.tasks.classification.task import check, check_defined


def dataset(*validation: int) -> Dataset[Rows[int]]:
    parts = {"train": [0, 1, 2] * 3, "validation": list(validation)}
    rows = {split: Rows(["x"] * len(labels), ["1"] * len(labels), labels) for split, labels in parts.items() if labels}
    return Dataset("d", ("a", "b", "c"), rows)


@pytest.mark.parametrize(
    ("monitor", "labels", "message"),
    [
        ("val_roc_auc", (1, 1), "--monitor val_roc_auc needs validation rows of every class, .* no rows of class a, c"),
        ("val_roc_auc", (0, 1), "no rows of class c. Give .*, or choose another value, such as val_macro_f1."),
        ("val_mcc", (2, 2), "needs validation rows of two classes"),
    ],
)
def test_an_undefined_monitor_is_told_before_training(monitor: str, labels: tuple[int, ...], message: str) -> None:
    config = resolve({"training.monitor": monitor})
    with pytest.raises(ConfigError, match=message):
        check(config, dataset(*labels))
    check(resolve({"training.monitor": monitor, "training.early_stopping": False}), dataset(*labels))
    with pytest.raises(ConfigError, match="--metric"):
        check_defined(monitor.removeprefix("val_"), f"--metric {monitor}", dataset(*labels))


@pytest.mark.parametrize(
    ("monitor", "labels"),
    [("val_roc_auc", (0, 1, 2)), ("val_mcc", (0, 1)), ("val_macro_f1", (1, 1)), ("val_roc_auc", ())],
)
def test_a_defined_monitor_is_taken(monitor: str, labels: tuple[int, ...]) -> None:
    check(resolve({"training.monitor": monitor}), dataset(*labels))
