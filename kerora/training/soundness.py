"""Stops a training whose weights are no longer finite, and finds the state before that."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import torch

from kerora.errors import NotFiniteError
from kerora.training.checkpoint import Checkpoint, checkpoint_folders
from kerora.training.stopping import EarlyStopping

REMEDY = "Lower --learning-rate, keep --clip-norm above 0, or use --precision float32."


class Soundness(keras.callbacks.Callback):
    """Check the trained weights and the validation loss at the end of each epoch.

    The step finds a loss that is not finite only with the next batch. The last update of an epoch has none before the
    state is saved. Put one before the validation, which finds weights, and one after it, before the callbacks that keep
    or save weights, which finds the loss.

    Raises:
        NotFiniteError: at the end of an epoch, if a weight or the validation loss is not finite.
    """

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Check the state of the epoch."""
        loss = (logs or {}).get("val_loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise NotFiniteError(f"The validation loss became {float(loss)} after epoch {epoch + 1}. {REMEDY}")
        # one number from each weight: infinity and nan survive a sum
        if not all(torch.isfinite(variable.value.sum()) for variable in self.model.trainable_variables):
            raise NotFiniteError(f"A weight became infinite or not a number in epoch {epoch + 1}. {REMEDY}")


def restore_sound(model: keras.Model, stopping: EarlyStopping | None, checkpoints: Path) -> int | None:
    """Set the trained weights of the best epoch so far, or without early stopping of the last one.

    Args:
        model: the model.
        stopping: early stopping, which holds the weights of the best epoch, or None.
        checkpoints: the folder of the checkpoints.

    Returns:
        The number of the epoch, from 1, or None if no epoch is complete. The weights are then as they were.
    """
    if stopping is not None and stopping.best_weights is not None:
        values, epoch = stopping.best_weights, int(stopping.best_epoch or 0) + 1
        for variable, value in zip(model.trainable_variables, values, strict=True):
            variable.assign(value)
        return epoch
    for folder in reversed(checkpoint_folders(checkpoints)):
        checkpoint = Checkpoint(folder)
        # inside an epoch, nothing has shown that the weights are sound
        if checkpoint.position == 0:
            checkpoint.restore_model(model)
            return checkpoint.epoch
    return None
