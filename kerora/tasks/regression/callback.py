"""The metrics of a regressor at the end of each epoch, as a Keras callback."""

import time
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.numbers import NumberRows
from kerora.evaluation.regression import number_errors, regression_metrics
from kerora.models.checks import check_outputs
from kerora.models.regression_loss import losses_of_rows


class RegressionReport(keras.callbacks.Callback):
    """Evaluate a `TextRegressor` at the end of each epoch, and add the results to the logs.

    The callback adds ``val_loss``, ``val_mae``, ``val_rmse``, ``val_r2``, ``val_pearson``, ``val_spearman`` and
    ``validation_seconds``. A correlation with constant predictions is undefined in `metrics`. In the logs it is 0, so
    that early stopping can compare the epoch.

    After each epoch, `metrics` holds the newest metrics, and `predicted` (rows, targets) the numbers in the order of
    the rows.

    Args:
        rows: the rows to evaluate on.
        batches: their batches.
        loss: the loss of the training. Default: ``mse``.
    """

    def __init__(self, rows: NumberRows, batches: Any, loss: str = "mse") -> None:
        super().__init__()
        self.rows = rows
        self.data = batches
        self.loss = loss
        self.metrics: dict[str, Any] = {}
        self.predicted: np.ndarray | None = None
        self._errors: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, keep the results, and extend the logs."""
        started = time.perf_counter()
        # devices=[]: the default copies the state of every GPU, and predictions draw nothing there
        with torch.random.fork_rng(devices=[]):
            predicted = self._predicted()
        check_outputs(predicted)
        targets = np.asarray(self.rows.targets, np.float64)
        losses = losses_of_rows(targets, predicted, self.model.scale.deviation, self.loss)
        self.predicted = predicted
        self.metrics = regression_metrics(targets, predicted, self.model.classes, float(losses.mean()))
        self._errors = number_errors(targets, predicted, self.metrics, losses)
        if logs is not None:
            flat = {name: 0.0 for name in ("pearson", "spearman") if self.metrics[name] is None}
            single = {name: value for name, value in {**self.metrics, **flat}.items() if isinstance(value, float)}
            logs.update({f"val_{name}": value for name, value in single.items()})
            logs["validation_seconds"] = time.perf_counter() - started

    def standard_error(self, name: str) -> float:
        """Return the standard error of the newest value of a metric, by its name in the logs. See `EarlyStopping`."""
        return self._errors.get(name.removeprefix("val_"), 0.0)

    def _predicted(self) -> np.ndarray:
        # one batch at a time: all batches at once would hold several copies of the tokens in memory
        parts = [self.model.predict_on_batch(self.data[index][0]) for index in range(len(self.data))]
        found = np.empty((len(self.rows), len(self.model.classes)))
        found[self.data.order] = np.concatenate(parts)
        return found
