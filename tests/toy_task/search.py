"""The squared error can be searched."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from tests.toy_task.predict import predicted
from tests.toy_task.rows import CountedReader

METRICS = ("loss",)
METRIC = "loss"
SPACE = "lora"


def reader(config: FitConfig) -> CountedReader:
    return CountedReader()


def check(metric: str, dataset: Any, searched: Collection[str]) -> None:
    """Any rows define the error."""


def predictions(validation: Any, rows: Any) -> dict[str, np.ndarray]:
    return {"words": predicted(validation.model, rows, 64)}


def resampled(metric: str, predictions: Mapping[str, np.ndarray], dataset: Any) -> Callable[[np.ndarray], float] | str:
    errors = (predictions["words"] - np.asarray(dataset["validation"].targets)) ** 2
    return lambda counts: float(counts @ errors / counts.sum())


def weak(metrics: Mapping[str, Any], dataset: Any) -> str | None:
    return None


def submission(run: RunFolder) -> None:
    """The run holds metrics only."""
