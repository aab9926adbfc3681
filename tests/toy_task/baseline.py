"""The mean number of words of the training texts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerora.evaluation.significance import row_difference
from kerora.evaluation.tested import outcome, tested
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import Evaluation
from tests.toy_task.predict import predicted


def baseline(
    config: FitConfig, model: Any, train: Any, rows: Mapping[str, Any], evaluation: Evaluation
) -> dict[str, dict[str, Any]]:
    mean = float(np.mean(train.targets))
    found = {}
    for split, part in rows.items():
        targets = np.asarray(part.targets)
        own, simple = (predicted(model, part, 64) - targets) ** 2, (mean - targets) ** 2
        metrics = {"loss": float(np.mean(simple))}
        found[split] = outcome("the mean", metrics, "the mean", metrics, compared(own - simple))
    return found


def compared(differences: np.ndarray) -> dict[str, Any]:
    difference = row_difference(lambda places: float(np.mean(differences[places])), len(differences))
    return tested("loss", difference, lower_is_better=True)
