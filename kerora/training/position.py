"""Keeps the data and the step at the right place of the run."""

from collections.abc import Mapping
from typing import Any

import keras

from kerora.data.batches import Batches
from kerora.training.checkpoint import Checkpoint
from kerora.training.step import TrainStep


class Position(keras.callbacks.Callback):
    """Set epoch and batch of data and step at each epoch's beginning; stop after `max_steps`.

    The first epoch of a resumed run begins at the checkpoint's batch: the batches then report
    only what is left, and Keras ends the epoch where they end.

    Args:
        batches: the training batches.
        step: the train step.
        max_steps: updates after which training stops, or None.
        checkpoint: where a resumed run goes on, or None.
    """

    def __init__(
        self, batches: Batches, step: TrainStep, max_steps: int | None = None, checkpoint: Checkpoint | None = None
    ) -> None:
        super().__init__()
        self.batches = batches
        self.step = step
        self.max_steps = max_steps
        self.checkpoint = checkpoint

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Go to the epoch's first batch, or to where the checkpoint left it."""
        position = 0
        if self.checkpoint is not None and self.checkpoint.epoch == epoch:
            position = self.checkpoint.position
            self.checkpoint.restore_metrics(self.model)
        self.batches.move_to(epoch, position)
        self.step.move_to(epoch, position)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Stop once the updates are done."""
        updates = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if self.max_steps is not None and self.step.at_update and updates >= self.max_steps:
            self.model.stop_training = True
