"""A training of a few hundred numbers through the shared loop, for tests of checkpoints, positions and signals."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.batches import Batches
from kerora.data.tokens import TokenTable
from kerora.runfolder import RunFolder
from kerora.settings.fit import TrainingConfig
from kerora.tasks.classification.losses import CrossEntropy
from kerora.training.callbacks import History
from kerora.training.checkpoint import Checkpoint
from kerora.training.interrupt import InterruptFlag
from kerora.training.loop import Loop, make_optimizer, run_loop
from kerora.training.position import Position
from kerora.training.progress import Silent
from kerora.training.step import TrainStep
from kerora.training.stopping import EarlyStopping, trainable_values

Look = Callable[["Training"], None]


class TorchDropout(keras.layers.Layer):
    """Dropout that draws from torch's own random state, as the layers of `kerora.fast` do."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return torch.nn.functional.dropout(inputs, 0.3, training)


class Bag(keras.Model):
    """Mean of embeddings, dropout and a dense layer."""

    def __init__(self, step: TrainStep, width: int = 4) -> None:
        super().__init__()
        self.embedding = keras.layers.Embedding(40, width)
        self.drop = TorchDropout()
        self.logits = keras.layers.Dense(3)
        self.step = step

    def call(self, inputs: Any, training: bool = False) -> Any:
        vectors = self.drop(self.embedding(inputs["token_ids"]), training=training)
        mask = keras.ops.cast(inputs["padding_mask"], "float32")[..., None]
        return self.logits(keras.ops.sum(vectors * mask, axis=1) / keras.ops.sum(mask, axis=1))

    def train_step(self, data: Any) -> Any:
        return self.step.train_step(self, data)


class Watch(keras.callbacks.Callback):
    """Call `look` after each batch."""

    def __init__(self, look: Callable[[], None]) -> None:
        super().__init__()
        self.look = look

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.look()


class Training:
    """Thirteen rows in seven batches an epoch."""

    def __init__(self, folder: Path, look: Look = lambda training: None, *, width: int = 4, **config: Any) -> None:
        self.config = TrainingConfig(**{"epochs": 3, "batch_size": 2, "learning_rate": 0.05, **config})
        self.run = RunFolder(folder)
        self.batches = small_batches(self.config.batch_size)
        self.step = TrainStep(self.batches.batches_per_epoch, self.config.accumulate, seed=5)
        self.model = Bag(self.step, width)
        self.model(self.batches[0][0])
        self.optimizer = make_optimizer(self.config, 0.05, 3 * self.step.updates_per_epoch)
        self.model.compile(self.optimizer, CrossEntropy(0.0), metrics=["accuracy"])
        self.stopping = EarlyStopping("loss", patience=9)
        self.history = History(folder / "history.csv")
        self.flag = InterruptFlag()
        self.look = look

    def go(self, checkpoint: Checkpoint | None = None) -> list[np.ndarray]:
        """Train, and return the weights."""
        position = Position(self.batches, self.step, self.config.max_steps, checkpoint)
        callbacks = [position, Watch(lambda: self.look(self))]
        loop = Loop(self.batches, self.step, self.config.epochs or 1, None, self.stopping, callbacks)
        run_loop(self.run, self.model, loop, self.config, self.history, checkpoint, Silent(), self.flag)
        return self.weights()

    def weights(self) -> list[np.ndarray]:
        return trainable_values(self.model)

    @property
    def updates(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))


def small_batches(batch_size: int = 2, shuffle: bool = True) -> Batches:
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 9, 13)
    ids = generator.integers(1, 40, lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Batches(TokenTable(ids, offsets), generator.integers(0, 3, 13), batch_size=batch_size, shuffle=shuffle)


def stop_at(epoch: int, position: int) -> Look:
    """Raise the flag, as a signal does, once that many batches of an epoch are done."""

    def look(training: Training) -> None:
        if (training.step.epoch, training.step.position) == (epoch, position):
            training.flag.signal_number = signal.SIGTERM

    return look


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
