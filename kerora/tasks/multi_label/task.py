"""Training and evaluating models with several labels per text."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerora.data.batches import Batches
from kerora.data.concerns import concerns as found_concerns
from kerora.data.rows import Dataset, Rows, indicators
from kerora.errors import ConfigError
from kerora.evaluation.label_metrics import LABEL_METRICS, label_metrics
from kerora.evaluation.thresholds import HALF, best_thresholds
from kerora.models.multi_label import MultiLabelClassifier
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import COURSE_COLUMNS, Evaluation
from kerora.tasks.multi_label.callback import MultiLabelReport
from kerora.tasks.multi_label.losses import LabelCrossEntropy, balanced_weights
from kerora.tasks.multi_label.predict import write_predictions
from kerora.tasks.whole_text import training as whole_text
from kerora.tasks.whole_text.training import augmented, check_frozen, evaluation_batches, truncation_notes, with_states

Sets = tuple[int, ...]
COLUMNS = (
    "epoch",
    "loss",
    "val_loss",
    "val_macro_f1",
    "val_micro_f1",
    "val_macro_f1_at_half",
    "val_map",
    *COURSE_COLUMNS,
)
MONITOR = "val_macro_f1"
LOSSES = ("cross-entropy", "focal")
# without val_: the value of the training rows, from the training itself
MONITORS = frozenset({"loss", *(f"val_{name}" for name in LABEL_METRICS)})


def check(config: FitConfig, dataset: Dataset[Rows[Sets]]) -> None:
    """Refuse settings that contradict each other, and those that only rows with one class have."""
    training = config.training
    check_frozen(training)
    if training.sampling == "balanced":
        raise ConfigError(
            "--sampling balanced needs rows with one class. With several labels, --class-weights balanced makes "
            "rare ones count more."
        )
    if training.consistency != "none":
        raise ConfigError(
            f"--consistency {training.consistency} compares the probabilities of classes of which one is right. It is "
            "for --task classification. Leave it out."
        )
    if training.start != "plain":
        raise ConfigError(
            f"--start {training.start} takes pairs of rows of one class and of two. It is for --task classification. "
            "Leave it out."
        )
    if training.calibrate:
        raise ConfigError(
            "--calibrate is for one class per text. With several labels the thresholds are chosen on the validation "
            "rows. Leave it out."
        )


def prepare(config: FitConfig, dataset: Dataset[Rows[Sets]], model: MultiLabelClassifier) -> None:
    """Set the share of masked tokens, the frozen blocks that are computed once, and the weights of the labels."""
    whole_text.prepare(config, dataset, model)
    if config.training.threshold is not None:
        # for the evaluation before the training
        model.thresholds = config.training.threshold
    balanced = config.training.class_weights == "balanced"
    found = indicators(dataset["train"].targets or [], len(dataset.classes)) if balanced else None
    model.positive_weights = None if found is None else tuple(balanced_weights(found))


def training_batches(config: FitConfig, dataset: Dataset[Rows[Sets]], model: MultiLabelClassifier) -> Batches:
    """Return the training rows in batches of rows of similar length."""
    training = config.training
    batches = model.batches(dataset["train"], batch_size=training.batch_size, shuffle=True, seed=training.seed)
    return augmented(with_states(model, batches, training.evaluation_batch_size), training, model)


def compile(model: MultiLabelClassifier, config: FitConfig, optimizer: Any, step: Any) -> None:
    """Compile the model with binary cross entropy, or its focal form."""
    training = config.training
    gamma = training.focal_gamma if training.loss == "focal" else 0.0
    loss = LabelCrossEntropy(training.label_smoothing, model.positive_weights, gamma)
    model.compile(optimizer=optimizer, loss=loss, step=step)


def validation(
    config: FitConfig, dataset: Dataset[Rows[Sets]], model: MultiLabelClassifier
) -> keras.callbacks.Callback:
    """Return the callback that evaluates the validation rows with scikit-learn."""
    batches = evaluation_batches(config, dataset["validation"], model)
    return MultiLabelReport(batches, dataset.classes, threshold=config.training.threshold)


def notes(dataset: Dataset[Rows[Sets]], model: MultiLabelClassifier, batches: Any) -> list[str]:
    """Return a line with the name of the data, its rows and its labels, and the side of truncation if it is left."""
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset)
    data = f"Data: {dataset.name}, {rows} rows, {len(dataset.classes)} labels, any number in a row{dataset.dropped()}"
    return [data, *truncation_notes(model)]


def concerns(config: FitConfig, dataset: Dataset[Rows[Sets]], model: MultiLabelClassifier) -> list[str]:
    """Return the findings of the audit that `kerora data show` prints in full."""
    return found_concerns(model.audit(dataset), dataset.classes)


def evaluate(
    model: MultiLabelClassifier, rows: Mapping[str, Rows[Sets]], config: FitConfig, *, cache: bool = False
) -> Evaluation:
    """Return the metrics. The details are the rows of each split and their probabilities."""
    size = config.training.evaluation_batch_size
    details = [(split, part, model.predict_probabilities(part, size, cache=cache)) for split, part in rows.items()]
    return Evaluation(_metrics(model, details), details)


def settle(model: MultiLabelClassifier, evaluation: Evaluation, config: FitConfig) -> Evaluation:
    """Choose the thresholds on the validation rows, or take that of the settings, and measure with them.

    Thresholds that the model has already, such as those of an imported adapter, stay.
    """
    fixed = config.training.threshold
    if fixed is None and (model.thresholds != HALF).any():
        return evaluation
    found = {split: (rows, probabilities) for split, rows, probabilities in evaluation.details}
    if fixed is not None:
        model.thresholds, note = fixed, f"Threshold: {fixed:g} for all labels, as --threshold says"
    elif "validation" not in found:
        return evaluation
    else:
        rows, probabilities = found["validation"]
        labels = indicators(rows.targets or [], len(model.classes))
        model.thresholds = best_thresholds(labels, probabilities)
        note = _chosen(model.thresholds, labels)
    return Evaluation(_metrics(model, evaluation.details), evaluation.details, (note,))


def _chosen(thresholds: np.ndarray, labels: np.ndarray) -> str:
    without = int((~labels.any(axis=0)).sum())
    rest = f". The {without} labels without validation rows keep {HALF}" if without else ""
    return (
        f"Thresholds: one for each label, with the best F1 on {len(labels):,} validation rows, "
        f"{thresholds.min():.2f} to {thresholds.max():.2f}{rest}"
    )


def _metrics(
    model: MultiLabelClassifier, details: list[tuple[str, Rows[Sets], np.ndarray]]
) -> dict[str, dict[str, Any]]:
    return {
        split: label_metrics(
            indicators(rows.targets or [], len(model.classes)), probabilities, model.classes, model.thresholds
        )
        for split, rows, probabilities in details
    }


def write_details(folder: RunFolder, model: MultiLabelClassifier, evaluation: Evaluation) -> None:
    """Write predictions.csv."""
    write_predictions(folder.predictions, model.classes, model.thresholds, evaluation.details)


def demonstrate(model: MultiLabelClassifier, rows: Rows[Sets], config: FitConfig) -> None:
    """Return None: predictions.csv shows what the model does."""


def write_demonstration(run: RunFolder, found: None, trained: bool) -> None:
    """Write nothing. `demonstrate` returns nothing."""


def adapter_facts(config: FitConfig, dataset: Dataset[Rows[Sets]] | None) -> dict[str, Any]:
    """Return whether the rows are pairs of texts."""
    # `kerora predict` refuses single texts for such a run
    return {"pairs": dataset is not None and dataset["train"].pairs is not None}
