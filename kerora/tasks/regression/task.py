"""Training and evaluating regressors."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerora.data.batches import Batches
from kerora.data.concerns import concerns as found_concerns
from kerora.data.numbers import NumberRows
from kerora.data.rows import Dataset
from kerora.errors import ConfigError
from kerora.evaluation.regression import SINGLE_NUMBER_METRICS, regression_metrics
from kerora.models.regression_loss import DEFAULT_LOSS, RegressionLoss, losses_of_rows
from kerora.models.regression_loss import LOSSES as KINDS
from kerora.models.regressor import TextRegressor
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig, TrainingConfig
from kerora.tasks.contract import COURSE_COLUMNS, Evaluation
from kerora.tasks.refused import check_no_threshold
from kerora.tasks.regression.callback import RegressionReport
from kerora.tasks.regression.predict import predict_numbers, write_predictions
from kerora.tasks.whole_text.training import (
    augmented,
    check_frozen,
    evaluation_batches,
    truncation_notes,
    with_states,
)
from kerora.tasks.whole_text.training import prepare as prepare

COLUMNS = ("epoch", "loss", "mae", *(f"val_{name}" for name in SINGLE_NUMBER_METRICS), *COURSE_COLUMNS)
# Not val_pearson, which ignores a wrong scale and is undefined while the predictions are constant.
MONITOR = "val_loss"
LOSSES = KINDS
# without val_: the values of the training rows, from the training itself
MONITORS = frozenset({"loss", "mae", *(f"val_{name}" for name in SINGLE_NUMBER_METRICS)})


def check(config: FitConfig, dataset: Dataset[NumberRows]) -> None:
    """Refuse settings that only classifiers have, and a --monitor that the validation rows leave undefined."""
    training = config.training
    check_frozen(training)
    check_no_threshold(config)
    # options that a regression would silently ignore
    given = {
        "--label-smoothing": training.label_smoothing,
        "--class-weights": training.class_weights != "none",
        "--sampling": training.sampling != "shuffled",
        "--calibrate": training.calibrate,
        "--consistency": training.consistency != "none",
        "--start": training.start != "plain",
    }
    wrong = next((option for option, value in given.items() if value), None)
    if wrong is not None:
        raise ConfigError(f"{wrong} is for classification, not for --task {config.task}. Leave it out.")
    if training.early_stopping and training.monitor is not None:
        check_defined(training.monitor.removeprefix("val_"), f"--monitor {training.monitor}", dataset)


def check_defined(metric: str, option: str, dataset: Dataset[NumberRows]) -> None:
    """Check that the validation rows define a metric.

    Args:
        metric: name of the metric, without prefix.
        option: the option that names it, for the message.
        dataset: the data. Without validation rows nothing is checked.

    Raises:
        ConfigError: R2 and the correlations need different numbers.
    """
    rows = dataset.splits.get("validation")
    if rows is None or metric not in ("r2", "pearson", "spearman"):
        return
    targets = np.asarray(rows.targets)
    constant = [name for name, column in zip(dataset.classes, targets.T, strict=True) if column.min() == column.max()]
    if constant:
        raise ConfigError(
            f"{option} needs validation rows with different numbers, but '{constant[0]:.40}' is constant there. Give "
            f"other validation rows, or choose another value, such as {option.split()[-1].replace(metric, 'rmse')}."
        )


def loss_of(training: TrainingConfig) -> str:
    """Return the loss of a training."""
    return training.loss or DEFAULT_LOSS


def training_batches(config: FitConfig, dataset: Dataset[NumberRows], model: TextRegressor) -> Batches:
    """Return the training rows in batches of rows of similar length."""
    training = config.training
    batches = model.batches(dataset["train"], batch_size=training.batch_size, shuffle=True, seed=training.seed)
    return augmented(with_states(model, batches, training.evaluation_batch_size), training, model)


def compile(model: TextRegressor, config: FitConfig, optimizer: Any, step: Any) -> None:
    """Compile the model with the loss of the settings and the mean absolute error."""
    loss = RegressionLoss(loss_of(config.training), model)
    model.compile(optimizer=optimizer, loss=loss, metrics=["mae"], step=step)


def validation(config: FitConfig, dataset: Dataset[NumberRows], model: TextRegressor) -> keras.callbacks.Callback:
    """Return the callback that evaluates the validation rows."""
    rows = dataset["validation"]
    return RegressionReport(rows, evaluation_batches(config, rows, model), loss_of(config.training))


def notes(dataset: Dataset[NumberRows], model: TextRegressor, batches: Batches) -> list[str]:
    """Return a line with the name of the data, its rows and the scale of its targets, and the side of truncation."""
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset)
    # of the rows and not of the model, whose scale can leave out the mean or come from an adapter
    targets = np.asarray(dataset["train"].targets, np.float64)
    scales = [
        f"{name} {mean:.4g} +- {deviation:.4g}"
        for name, mean, deviation in zip(dataset.classes, targets.mean(axis=0), targets.std(axis=0), strict=True)
    ]
    listed = ", ".join(scales[:5]) + (f" and {len(scales) - 5} more" if len(scales) > 5 else "")
    return [f"Data: {dataset.name}, {rows} rows; {listed}{dataset.dropped()}", *truncation_notes(model)]


def concerns(config: FitConfig, dataset: Dataset[Any], model: TextRegressor) -> list[str]:
    """Return the findings of the audit that `kerora data show` prints in full."""
    return found_concerns(model.audit(dataset))


def evaluate(
    model: TextRegressor, rows: Mapping[str, NumberRows], config: FitConfig, *, cache: bool = False
) -> Evaluation:
    """Return the metrics. The details are the rows of each split and their numbers."""
    size, loss = config.training.evaluation_batch_size, loss_of(config.training)
    metrics, details = {}, []
    for split, part in rows.items():
        predicted = predict_numbers(model, part, size, cache=cache)
        metrics[split] = metrics_of(part, predicted, model, loss)
        details.append((split, part, predicted))
    return Evaluation(metrics, details)


def metrics_of(rows: NumberRows, predicted: np.ndarray, model: TextRegressor, loss: str) -> dict[str, Any]:
    """Return the metrics of predicted numbers (rows, targets)."""
    targets = np.asarray(rows.targets, np.float64)
    losses = losses_of_rows(targets, predicted, model.scale.deviation, loss)
    return regression_metrics(targets, predicted, model.classes, float(losses.mean()))


def settle(model: TextRegressor, evaluation: Evaluation, config: FitConfig) -> Evaluation:
    """Return the evaluation as it is: nothing decides after the numbers."""
    return evaluation


def write_details(folder: RunFolder, model: TextRegressor, evaluation: Evaluation) -> None:
    """Write predictions.csv."""
    write_predictions(folder.predictions, model.classes, evaluation.details)


def demonstrate(model: TextRegressor, rows: NumberRows, config: FitConfig) -> None:
    """Return None: predictions.csv shows what the model does."""


def write_demonstration(run: RunFolder, found: None, trained: bool) -> None:
    """Write nothing. `demonstrate` returns nothing."""


def adapter_facts(config: FitConfig, dataset: Dataset[NumberRows] | None) -> dict[str, Any]:
    """Return whether the rows are pairs of texts."""
    # `kerora predict` refuses single texts for such a run
    return {"pairs": dataset is not None and dataset["train"].pairs is not None}
