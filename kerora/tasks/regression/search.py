"""What `kerora tune` asks of regression."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerora.data.numbers import NumberReader, NumberRows
from kerora.data.rows import Dataset
from kerora.errors import ConfigError
from kerora.evaluation.regression import SINGLE_NUMBER_METRICS
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.regression.callback import RegressionReport
from kerora.tasks.regression.labels import read_targets
from kerora.tasks.regression.results import read_predictions
from kerora.tasks.regression.task import check_defined

METRICS = SINGLE_NUMBER_METRICS
# the errors in the units of the data: the loss changes its meaning with `training.loss`
METRIC = "rmse"
SPACE = "lora-numbers"


def reader(config: FitConfig) -> NumberReader:
    """Return the reader of rows with numbers."""
    return NumberReader()


def check(metric: str, dataset: Dataset[NumberRows], searched: Collection[str]) -> None:
    """Refuse a metric that the validation rows leave undefined, and the loss if the search compares losses."""
    check_defined(metric, f"--metric {metric}", dataset)
    if metric == "loss" and "training.loss" in searched:
        raise ConfigError(
            "--metric loss differs between the searched losses (training.loss), so the trials cannot be compared. Use "
            "--metric rmse or mae."
        )


def predictions(validation: keras.callbacks.Callback, rows: NumberRows) -> dict[str, np.ndarray]:
    """Return the predicted numbers of each row, float32 (rows, targets)."""
    assert isinstance(validation, RegressionReport) and validation.predicted is not None
    return {"predicted": validation.predicted.astype(np.float32)}


def resampled(
    metric: str, predictions: Mapping[str, np.ndarray], dataset: Dataset[NumberRows]
) -> Callable[[np.ndarray], float] | str:
    """Return a function that computes a metric of `NUMBER_METRICS` except the rank correlation."""
    if metric in ("loss", "spearman"):
        return "this metric needs more than the stored predictions"
    true = np.asarray(dataset["validation"].targets, np.float64)
    found = predictions["predicted"].astype(np.float64)

    def value(counts: np.ndarray) -> float:
        shares = counts / counts.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.mean(_of_columns(true, found, shares, metric)))

    return value


def _of_columns(true: np.ndarray, found: np.ndarray, shares: np.ndarray, metric: str) -> np.ndarray:
    """Return a metric of each target, (targets,), for the share of each row, (rows,)."""
    if metric == "mae":
        return np.asarray(shares @ np.abs(found - true))
    squares = shares @ (found - true) ** 2
    if metric == "rmse":
        return np.sqrt(squares)
    one, other = true - shares @ true, found - shares @ found
    spread = shares @ one**2
    if metric == "r2":
        return np.asarray(1 - squares / spread)
    return np.asarray(shares @ (one * other) / np.sqrt(spread * (shares @ other**2)))


def weak(metrics: Mapping[str, Any], dataset: Dataset[NumberRows]) -> str | None:
    """Return a sentence if the numbers are no better than the mean of the validation rows."""
    r2 = metrics.get("r2")
    if r2 is None or r2 > 0:
        return None
    return f"The numbers are not better than always predicting the mean of the validation rows: R2 {r2:.4f}."


def submission(run: RunFolder) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
    """Return the id and the predicted numbers of each test row in predictions.csv."""
    test = read_predictions(run.predictions, read_targets(run.labels).names)["test"]
    numbers = zip(test.ids, test.predicted, strict=True)
    return ["id", *test.targets], ([identifier, *map(str, values)] for identifier, values in numbers)
