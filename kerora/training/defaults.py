"""Defaults that depend on the hardware, the data and the model. They are settled before a run starts.

The default number of updates was measured on three data sets with an encoder of width 384 (see docs/defaults.md).
Small data sets need more epochs, not a higher learning rate.
"""

import dataclasses
import math

from kerora.data.batches import Batches
from kerora.data.rows import Dataset
from kerora.errors import ConfigError, nearest
from kerora.models.learning_rate import default_learning_rate
from kerora.models.precision import resolve_precision
from kerora.models.task import TaskModel
from kerora.settings.fit import FitConfig
from kerora.tasks.registry import Task

LEAST_EPOCHS, MOST_EPOCHS, ENOUGH_UPDATES = 3, 12, 400


def default_epochs(updates_per_epoch: int) -> int:
    """Return the number of epochs: enough for 400 updates, at least 3 and at most 12."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, math.ceil(ENOUGH_UPDATES / max(1, updates_per_epoch))))


def settle_for_data(config: FitConfig, task: Task, dataset: Dataset) -> FitConfig:
    """Settle precision, loss and early stopping. Early stopping is off if there are no validation rows.

    Raises:
        ConfigError: the task does not have the loss, or early stopping would monitor an unknown value.
    """
    training = config.training
    if "validation" not in dataset.splits:
        training = dataclasses.replace(training, early_stopping=False)
    # checked here, because `EarlyStopping` itself finds an unknown name only after the first epoch
    known = task.training.MONITORS
    training = dataclasses.replace(training, monitor=training.monitor or task.training.MONITOR)
    if training.early_stopping and training.monitor not in known:
        hint = nearest(str(training.monitor), known)
        raise ConfigError(f"Unknown --monitor '{training.monitor}'.{hint} Known: {', '.join(sorted(known))}.")
    losses = task.training.LOSSES
    training = dataclasses.replace(training, loss=training.loss or losses[0])
    if training.loss not in losses:
        hint = nearest(str(training.loss), losses)
        raise ConfigError(f"--task {task.name} has no --loss '{training.loss}'.{hint} Known: {', '.join(losses)}.")
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, precision=resolve_precision(config.model.precision)),
        training=training,
    )


def settle_for_model(config: FitConfig, model: TaskModel, batches: Batches) -> FitConfig:
    """Settle learning rate, epochs, maximum length, the reading of longer texts and the share of masked tokens."""
    # rounded up, because the remainder of an epoch makes an update too (see `TrainStep`)
    updates = math.ceil(batches.batches_per_epoch / config.training.accumulate)
    epochs = config.training.epochs or default_epochs(updates)
    rate = config.training.learning_rate or default_learning_rate(model.backbone.hidden_dim, config.lora.method)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **model.length_settings),
        training=dataclasses.replace(config.training, learning_rate=rate, epochs=epochs, mask_share=model.mask_share),
    )
