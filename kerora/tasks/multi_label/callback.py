"""The metrics of several labels per text at the end of each epoch, as a Keras callback that works with any `fit`."""

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

from kerora.errors import ConfigError
from kerora.evaluation.label_bootstrap import standard_errors
from kerora.evaluation.label_metrics import label_metrics
from kerora.evaluation.thresholds import HALF, best_thresholds
from kerora.models.multi_label import sigmoid
from kerora.tasks.whole_text.outputs import labels_and_outputs


class MultiLabelReport(keras.callbacks.Callback):
    """Evaluate a model with several labels per text at the end of each epoch, and add the results to the logs.

    The callback adds the single-number metrics of `kerora.evaluation.label_metrics.label_metrics`, such as
    ``<prefix>loss``, ``<prefix>macro_f1`` and ``<prefix>map``, and ``validation_seconds``. Put it before callbacks that
    monitor these values.

    After each epoch, `metrics`, `thresholds` (classes,) and `probabilities` (rows, classes) hold the newest results.
    The probabilities are in the order of `data`.

    Args:
        data: `Batches`, another `PyDataset`, or ``(x, y)`` arrays. y is (rows, classes) of 0 and 1.
        classes: names of the labels. None uses their numbers.
        threshold: probability from which on a label is predicted. Default: None, for each label the one with the best
            F1 on these rows.
        prefix: put before the name of each metric in the logs. Default: ``val_``.
        from_logits: whether the outputs of the model are logits (else probabilities). Default: True.
        batch_size: rows in a batch if `data` is arrays. Default: 64.
    """

    def __init__(
        self,
        data: Any,
        classes: Sequence[str] | None = None,
        *,
        threshold: float | None = None,
        prefix: str = "val_",
        from_logits: bool = True,
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        self.data = data
        self.classes = None if classes is None else tuple(classes)
        self.threshold = threshold
        self.prefix = prefix
        self.from_logits = from_logits
        self.batch_size = batch_size
        self.metrics: dict[str, Any] = {}
        self.thresholds: np.ndarray | None = None
        self.probabilities: np.ndarray | None = None
        self._standard_errors: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, keep the results, and extend the logs."""
        started = time.perf_counter()
        # devices=[]: the default copies the state of every GPU, and predictions draw nothing there
        with torch.random.fork_rng(devices=[]):
            # Keras' data loaders use torch's random generator. The fork keeps training independent of evaluation.
            labels, probabilities = self._evaluate()
        classes = self.classes or tuple(str(number) for number in range(probabilities.shape[1]))
        fixed = self.threshold
        thresholds = best_thresholds(labels, probabilities) if fixed is None else np.full(probabilities.shape[1], fixed)
        self.probabilities, self.thresholds = probabilities, thresholds
        self.metrics = label_metrics(labels, probabilities, classes, thresholds)
        self._standard_errors = standard_errors(
            labels, probabilities, probabilities >= thresholds, probabilities >= HALF
        )
        if logs is not None:
            # map is None without positive rows, and per_class is a mapping: no callback can monitor them
            single = {name: value for name, value in self.metrics.items() if isinstance(value, float)}
            logs.update({f"{self.prefix}{name}": value for name, value in single.items()})
            logs["validation_seconds"] = time.perf_counter() - started

    def standard_error(self, name: str) -> float:
        """Return the standard error of the newest value of a metric, by its name in the logs. See `EarlyStopping`."""
        # 0 without an estimate: only a value as good as the best one then counts
        return self._standard_errors.get(name.removeprefix(self.prefix), 0.0)

    def _evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        labels, outputs = labels_and_outputs(self.model, self.data, self.batch_size)
        if outputs.ndim != 2 or labels.shape != outputs.shape:
            raise ConfigError(
                "MultiLabelReport needs outputs and labels of shape (rows, classes). "
                f"Received: shapes {outputs.shape} and {labels.shape}"
            )
        return labels > HALF, sigmoid(outputs) if self.from_logits else outputs
