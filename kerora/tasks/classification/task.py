"""Training and evaluating classifiers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerora.data.batches import Batches, balanced_class_weights
from kerora.data.concerns import concerns as found_concerns
from kerora.data.rows import Dataset, Rows
from kerora.errors import ConfigError
from kerora.evaluation.calibration import LEAST_ROWS, fit_temperature
from kerora.evaluation.metrics import SINGLE_METRICS, classification_metrics
from kerora.models.classifier import TextClassifier
from kerora.models.probabilities import softmax
from kerora.notices import notice
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.classification.callback import ClassificationReport
from kerora.tasks.classification.losses import LOSSES as MAKERS
from kerora.tasks.classification.predict import write_predictions
from kerora.tasks.contract import HISTORY_COLUMNS, Evaluation
from kerora.tasks.refused import check_no_threshold
from kerora.tasks.whole_text.training import (
    augmented,
    check_frozen,
    evaluation_batches,
    truncation_notes,
    with_states,
)
from kerora.tasks.whole_text.training import prepare as prepare

COLUMNS = HISTORY_COLUMNS
MONITOR = "val_macro_f1"
# without val_: the values of the training rows, from the training itself
MONITORS = frozenset({"loss", "accuracy", *(f"val_{name}" for name in SINGLE_METRICS)})
LOSSES = tuple(MAKERS)
# the metrics that are also measured without the temperature
UNCALIBRATED = ("loss", "ece")


def check(config: FitConfig, dataset: Dataset[Rows[int]]) -> None:
    """Refuse settings that contradict each other, and those for which the validation rows do not suffice."""
    training = config.training
    check_frozen(training)
    check_no_threshold(config)
    silent = config.lora.dropout == config.model.head_dropout == 0 and training.mask_share == 0
    if training.consistency != "none" and silent:
        raise ConfigError(
            f"--consistency {training.consistency} compares two passes with other dropout, but --lora-dropout, "
            "--head-dropout and --mask-share are 0. Raise one of them."
        )
    counts = dataset["train"].label_counts(dataset.classes)
    if training.start == "contrastive" and (alone := [name for name, count in counts.items() if count == 1]):
        listed = ", ".join(f"'{name:.40}'" for name in alone[:5])
        notice(f"--start contrastive: classes with one row have no pair of their own: {listed}.")
    # with both, a rare class would count more than a frequent one
    if training.sampling == "balanced" and training.class_weights == "balanced":
        raise ConfigError(
            "--sampling balanced and --class-weights balanced both make the classes count the same. Leave one out."
        )
    count = len(dataset.splits["validation"]) if "validation" in dataset.splits else 0
    if training.calibrate and count < LEAST_ROWS:
        raise ConfigError(
            f"--calibrate needs at least {LEAST_ROWS} validation rows, but there are {count}. Give more with "
            "--validation or a larger --validation-split, or leave --calibrate out."
        )
    if training.early_stopping and training.monitor is not None:
        check_defined(training.monitor.removeprefix("val_"), f"--monitor {training.monitor}", dataset)


def check_defined(metric: str, option: str, dataset: Dataset[Rows[int]]) -> None:
    """Check that the classes of the validation rows define a metric.

    Args:
        metric: name of the metric, without prefix.
        option: the option that names it, for the message.
        dataset: the data. Without validation rows nothing is checked.

    Raises:
        ConfigError: ROC AUC needs rows of every class, and MCC needs rows of two classes.
    """
    rows = dataset.splits.get("validation")
    # all other metrics have a meaning for any rows
    if rows is None or metric not in ("roc_auc", "mcc"):
        return
    present = set(rows.targets or ())
    absent = [name for number, name in enumerate(dataset.classes) if number not in present]
    if absent and (metric == "roc_auc" or len(present) < 2):
        needs = "every class" if metric == "roc_auc" else "two classes"
        # monitors are named val_..., metrics of a search are not
        other = option.rpartition(" ")[2].replace(metric, "macro_f1")
        raise ConfigError(
            f"{option} needs validation rows of {needs}, but the validation part has no rows of class "
            f"{', '.join(f'{name:.40}' for name in absent[:5])}. Give other validation rows, or choose another value, "
            f"such as {other}."
        )


def training_batches(config: FitConfig, dataset: Dataset[Rows[int]], model: TextClassifier) -> Batches:
    """Return the training rows in batches of rows of similar length."""
    training, rows = config.training, dataset["train"]
    balanced = training.class_weights == "balanced"
    batches = model.batches(
        rows,
        batch_size=training.batch_size,
        shuffle=True,
        seed=training.seed,
        class_weights=balanced_class_weights(rows.targets, len(dataset.classes)) if balanced else None,
        balance_by=rows.targets if training.sampling == "balanced" else None,
    )
    return augmented(with_states(model, batches, training.evaluation_batch_size), training, model)


def compile(model: TextClassifier, config: FitConfig, optimizer: Any, step: Any) -> None:
    """Compile the model with the loss of the settings, and accuracy."""
    loss = MAKERS[config.training.loss or LOSSES[0]](config.training)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], step=step)


def validation(config: FitConfig, dataset: Dataset[Rows[int]], model: TextClassifier) -> keras.callbacks.Callback:
    """Return the callback that evaluates the validation rows with scikit-learn."""
    return ClassificationReport(evaluation_batches(config, dataset["validation"], model), dataset.classes)


def notes(dataset: Dataset[Rows[int]], model: TextClassifier, batches: Batches) -> list[str]:
    """Return a line with the name of the data, its rows and its classes, and the side of truncation if it is left."""
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset)
    data = f"Data: {dataset.name}, {rows} rows, {len(dataset.classes)} classes{dataset.dropped()}"
    return [data, *truncation_notes(model)]


def concerns(config: FitConfig, dataset: Dataset[Rows[int]], model: TextClassifier) -> list[str]:
    """Return the findings of the audit that `kerora data show` prints in full."""
    return found_concerns(model.audit(dataset), dataset.classes)


def evaluate(
    model: TextClassifier, rows: Mapping[str, Rows[int]], config: FitConfig, *, cache: bool = False
) -> Evaluation:
    """Return the metrics. The details are the rows of each split and their logits."""
    size = config.training.evaluation_batch_size
    found = {split: evaluate_rows(model, part, size, cache=cache) for split, part in rows.items()}
    # the logits are kept, so that the temperature and predictions.csv need no second pass over the rows
    details = [(split, rows[split], logits) for split, (_, logits) in found.items()]
    return Evaluation({split: metrics for split, (metrics, _) in found.items()}, details)


def evaluate_rows(
    model: TextClassifier, rows: Rows[int], batch_size: int = 64, *, cache: bool = False
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the metrics of labelled rows, and the logits (rows, classes)."""
    logits = model.predict_logits(rows, batch_size, cache=cache)
    return metrics_of_logits(model, rows, logits), logits


def metrics_of_logits(model: TextClassifier, rows: Rows[int], logits: np.ndarray) -> dict[str, Any]:
    """Return the metrics of labelled rows.

    The probabilities, and so ``loss`` and ``ece``, are those with the temperature of the model. If it has one,
    ``loss_uncalibrated`` and ``ece_uncalibrated`` are those without it.
    """
    labels = np.asarray(rows.targets)

    def measured(temperature: float) -> dict[str, Any]:
        return classification_metrics(
            labels, softmax(logits, temperature), model.classes, predicted=logits.argmax(axis=1)
        )

    found = measured(model.temperature)
    if model.temperature == 1:
        return found
    plain = measured(1.0)
    return {**found, **{f"{name}_uncalibrated": plain[name] for name in UNCALIBRATED}}


def settle(model: TextClassifier, evaluation: Evaluation, config: FitConfig) -> Evaluation:
    """Fit the temperature on the logits of the validation rows, and measure all rows again with it."""
    parts = {split: (rows, logits) for split, rows, logits in evaluation.details}
    rows, logits = parts.get("validation", (None, None))
    if config.training.calibrate is False or rows is None or len(rows) < LEAST_ROWS:
        return evaluation
    found = fit_temperature(logits, np.asarray(rows.targets))
    if found is None:
        note = "No temperature fits the validation rows: they are all right, or no better than chance. It stays 1"
        return dataclasses.replace(evaluation, notes=(note,))
    model.temperature = found
    metrics = {split: metrics_of_logits(model, *part) for split, part in parts.items()}
    before, after = (metrics["validation"][key] for key in ("ece_uncalibrated", "ece"))
    note = (
        f"Temperature {found:.4g}, fitted on {len(rows):,} validation rows: their calibration error {before:.4f} -> "
        f"{after:.4f}"
    )
    return Evaluation(metrics, evaluation.details, (note,))


def write_details(folder: RunFolder, model: TextClassifier, evaluation: Evaluation) -> None:
    """Write predictions.csv."""
    parts = [(split, rows, softmax(logits, model.temperature)) for split, rows, logits in evaluation.details]
    write_predictions(folder.predictions, model.classes, parts)


def demonstrate(model: TextClassifier, rows: Rows[int], config: FitConfig) -> None:
    """Return None: predictions.csv shows what the model does."""


def write_demonstration(run: RunFolder, found: None, trained: bool) -> None:
    """Write nothing. `demonstrate` returns nothing."""


def adapter_facts(config: FitConfig, dataset: Dataset[Rows[int]] | None) -> dict[str, Any]:
    """Return whether the rows are pairs of texts."""
    # `kerora predict` refuses single texts for such a run
    return {"pairs": dataset is not None and dataset["train"].pairs is not None}
