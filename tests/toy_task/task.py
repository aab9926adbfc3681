"""Training by squared error."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerora.data.batches import Batches
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import COURSE_COLUMNS, Evaluation
from tests.toy_task.predict import predicted

COLUMNS = ("epoch", "loss", "val_loss", *COURSE_COLUMNS)
MONITOR = "val_loss"
MONITORS = frozenset({"loss", "val_loss"})


class SquaredError(keras.losses.Loss):
    def __init__(self) -> None:
        super().__init__(reduction="mean_with_sample_weight", name="squared_error")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return (y_pred.float().reshape(-1) - y_true.reshape(-1).float()) ** 2


class Report(keras.callbacks.Callback):
    def __init__(self, rows: Any) -> None:
        super().__init__()
        self.rows = rows

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs.update(val_loss=error(self.model, self.rows), validation_seconds=0.0)


def error(model: Any, rows: Any) -> float:
    return float(np.mean((predicted(model, rows, 64) - np.asarray(rows.targets)) ** 2))


def check(config: FitConfig, dataset: Any) -> None:
    """Every setting is taken."""


def prepare(config: FitConfig, dataset: Any, model: Any) -> None:
    """Nothing is set."""


def training_batches(config: FitConfig, dataset: Any, model: Any) -> Batches:
    training = config.training
    return model.batches(dataset["train"], batch_size=training.batch_size, shuffle=True, seed=training.seed)


def compile(model: Any, config: FitConfig, optimizer: Any, step: Any) -> None:
    model.compile(optimizer=optimizer, loss=SquaredError(), step=step)


def validation(config: FitConfig, dataset: Any, model: Any) -> keras.callbacks.Callback:
    return Report(dataset["validation"])


def concerns(config: FitConfig, dataset: Any, model: Any) -> list[str]:
    return []


def notes(dataset: Any, model: Any, batches: Any) -> list[str]:
    return [f"Data: {dataset.name}"]


def evaluate(model: Any, rows: Mapping[str, Any], config: FitConfig, *, cache: bool = False) -> Evaluation:
    return Evaluation({split: {"loss": error(model, part)} for split, part in rows.items()})


def settle(model: Any, evaluation: Evaluation, config: FitConfig) -> Evaluation:
    return evaluation


def write_details(folder: RunFolder, model: Any, evaluation: Evaluation) -> None:
    """The metrics say all."""


def demonstrate(model: Any, rows: Any, config: FitConfig) -> None:
    """The metrics say all."""


def write_demonstration(run: RunFolder, found: None, trained: bool) -> None:
    """The metrics say all."""


def adapter_facts(config: FitConfig, dataset: Any) -> dict[str, Any]:
    return {}
