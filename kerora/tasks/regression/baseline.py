"""The baseline of regressors: TF-IDF with ridge regression, and the mean of the training rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge

from kerora.data.numbers import NumberRows
from kerora.evaluation.baselines import TextFeatures
from kerora.evaluation.regression import regression_metrics
from kerora.evaluation.significance import Difference, row_difference
from kerora.evaluation.tested import outcome, tested
from kerora.models.regression_loss import losses_of_rows
from kerora.models.regressor import TextRegressor
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import Evaluation
from kerora.tasks.regression.task import loss_of

LEAST = "the mean of the training rows"


def baseline(
    config: FitConfig, model: TextRegressor, train: NumberRows, rows: Mapping[str, NumberRows], evaluation: Evaluation
) -> dict[str, dict[str, Any]]:
    """Fit TF-IDF with ridge regression on the training rows, and compare it with the tuned model by RMSE."""
    targets = np.asarray(train.targets, np.float64)
    features = TextFeatures(train, outputs=targets.shape[1])
    mean, deviation = targets.mean(axis=0), targets.std(axis=0)
    # standardised, so that the penalty means the same for every target
    ridge = Ridge().fit(features.matrix, (targets - mean) / deviation)
    found = {}
    # evaluated rows and their numbers, as `evaluate` of this task returns them
    for split, part, own in evaluation.details:
        true = np.asarray(part.targets, np.float64)
        simple = features.apply(ridge.predict, part).reshape(true.shape) * deviation + mean
        simplest = np.tile(mean, (len(part), 1))
        metrics, least = (_metrics(true, numbers, model, config) for numbers in (simple, simplest))
        test = tested("rmse", _rmse_difference(true, own, simple), lower_is_better=True)
        found[split] = outcome(f"{features.name} with ridge regression", metrics, LEAST, least, test)
    return found


def _metrics(true: np.ndarray, predicted: np.ndarray, model: TextRegressor, config: FitConfig) -> dict[str, Any]:
    losses = losses_of_rows(true, predicted, model.scale.deviation, loss_of(config.training))
    return regression_metrics(true, predicted, model.classes, float(losses.mean()))


def _rmse_difference(true: np.ndarray, first: np.ndarray, second: np.ndarray) -> Difference:
    """Return the RMSE of the first numbers minus that of the second, with a paired bootstrap interval over rows."""
    squares = [(numbers - true) ** 2 for numbers in (first, second)]

    def difference(places: np.ndarray) -> float:
        # of several targets the mean, as in `regression_metrics`
        one, other = (np.sqrt(each[places].mean(axis=0)).mean() for each in squares)
        return float(one - other)

    return row_difference(difference, len(true))
