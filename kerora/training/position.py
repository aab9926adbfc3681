"""Sets the position of the batches and the train step."""

from collections.abc import Mapping
from typing import Any

import keras

from kerora.data.batches import Batches
from kerora.training.checkpoint import Checkpoint
from kerora.training.step import TrainStep


class Position(keras.callbacks.Callback):
    """Set epoch and batch of the data and the step at the start of each epoch. Stop after `max_steps`.

    The first epoch of a resumed run starts at the batch of the checkpoint. The batches then provide only
    the rest of the epoch, and Keras ends the epoch when they end.

    Args:
        batches: the training batches.
        step: the train step.
        max_steps: number of updates after which training stops, or None.
        checkpoint: the state from which a resumed run continues, or None.
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
        """Go to the first batch of the epoch, or to the batch of the checkpoint."""
        position = 0
        if self.checkpoint is not None and self.checkpoint.epoch == epoch:
            position = self.checkpoint.position
            # not earlier: Keras resets the metrics just before it calls `on_epoch_begin`
            self.checkpoint.restore_metrics(self.model)
        self.batches.move_to(epoch, position)
        self.step.move_to(epoch, position)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Stop after `max_steps` updates."""
        updates = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        # the count of the optimizer comes from the checkpoint too, so a resumed run stops at the same update
        if self.max_steps is not None and self.step.at_update and updates >= self.max_steps:
            self.model.stop_training = True
