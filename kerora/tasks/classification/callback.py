"""The metrics of a classifier at the end of each epoch, as a Keras callback that works with any `model.fit`."""

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

from kerora.errors import ConfigError
from kerora.evaluation.metrics import (
    classification_metrics,
    classification_report_text,
    confusion_matrix,
    standard_errors,
)
from kerora.models.checks import check_outputs
from kerora.models.probabilities import softmax
from kerora.tasks.whole_text.outputs import labels_and_outputs


class ClassificationReport(keras.callbacks.Callback):
    """Evaluate a classifier at the end of each epoch with scikit-learn, and add the results to the logs.

    The callback adds the single-number metrics of `kerora.evaluation.metrics.classification_metrics`, such as
    ``<prefix>loss``, ``<prefix>accuracy`` and ``<prefix>macro_f1``, and ``validation_seconds``. Callbacks that come
    later in the list can monitor them. So put this callback before callbacks of Kerora or Keras that do.

    After each epoch, `metrics`, `matrix` (classes, classes; rows are true classes) and `text` hold the
    newest results. `probabilities` (rows, classes) holds the predictions in the order of `data`.

    Args:
        data: `Batches`, another `PyDataset`, or ``(x, y)`` arrays. y holds class numbers.
        classes: class names. None uses the class numbers as names.
        prefix: put before the name of each metric in the logs. Default: ``val_``.
        from_logits: whether the outputs of the model are logits (else probabilities). Default: True.
        batch_size: rows in a batch if `data` is arrays. Default: 64.
    """

    def __init__(
        self,
        data: Any,
        classes: Sequence[str] | None = None,
        *,
        prefix: str = "val_",
        from_logits: bool = True,
        batch_size: int = 64,
    ) -> None:
        super().__init__()
        self.data = data
        self.classes = None if classes is None else tuple(classes)
        self.prefix = prefix
        self.from_logits = from_logits
        self.batch_size = batch_size
        self.metrics: dict[str, Any] = {}
        self.matrix: np.ndarray | None = None
        self.probabilities: np.ndarray | None = None
        self.text = ""
        self._standard_errors: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluate, keep the results, and extend the logs."""
        started = time.perf_counter()
        # devices=[]: the default copies the state of every GPU, and predictions draw nothing there
        with torch.random.fork_rng(devices=[]):
            # Keras' data loaders use torch's random generator. The fork keeps training independent of evaluation.
            labels, probabilities = self._evaluate()
        check_outputs(probabilities)
        # the outputs tell the number of classes, also if no row has the last class
        classes = self.classes or tuple(str(number) for number in range(probabilities.shape[1]))
        predicted = probabilities.argmax(axis=1)
        self.probabilities = probabilities
        self.metrics = classification_metrics(labels, probabilities, classes)
        self.matrix = confusion_matrix(labels, predicted, len(classes))
        self.text = classification_report_text(labels, predicted, classes)
        self._standard_errors = standard_errors(labels, probabilities, self.metrics)
        if logs is not None:
            # roc_auc is None where it is undefined, and per_class is a mapping: no callback can monitor them
            single = {name: value for name, value in self.metrics.items() if isinstance(value, float)}
            logs.update({f"{self.prefix}{name}": value for name, value in single.items()})
            logs["validation_seconds"] = time.perf_counter() - started

    def standard_error(self, name: str) -> float:
        """Return the standard error of the newest value of a metric, by its name in the logs. See `EarlyStopping`."""
        # 0 without an estimate: only a value as good as the best one then counts
        return self._standard_errors.get(name.removeprefix(self.prefix), 0.0)

    def _evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        labels, outputs = labels_and_outputs(self.model, self.data, self.batch_size)
        # (rows,) or (rows, 1)
        labels = labels.reshape(-1)
        # a single sigmoid output has no probability of the other class
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ConfigError(
                "ClassificationReport needs a model with one output per class, shape (rows, classes). "
                f"Received: shape {outputs.shape}"
            )
        return labels.astype(np.int64), softmax(outputs) if self.from_logits else outputs
