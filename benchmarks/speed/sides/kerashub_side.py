"""Plain KerasHub as in its guides: task class, its preprocessor, `enable_lora`, `fit` on texts."""

import os
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import keras_hub

from benchmarks.speed.work import Job, load_rows

WARM_BATCHES = 2


class _Steps(keras.callbacks.Callback):
    """Records the time at the end of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(time.perf_counter())


def train(job: Job) -> dict[str, Any]:
    """Train on a part of the rows, and extrapolate to all batches. The accuracy is not measured."""
    keras.utils.set_random_seed(job.seed)
    texts, labels, names = load_rows(job.path / "train.csv")
    classifier = keras_hub.models.TextClassifier.from_preset(job.preset, num_classes=len(names))
    classifier.preprocessor.sequence_length = job.max_length
    classifier.backbone.enable_lora(rank=8)
    classifier.compile(
        optimizer=keras.optimizers.AdamW(job.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    taken = (WARM_BATCHES + job.slice_steps) * job.batch_size
    texts, labels = (texts * -(-taken // len(texts)))[:taken], (labels * -(-taken // len(labels)))[:taken]
    clock = _Steps()
    ready = time.time()
    classifier.fit(texts, labels, batch_size=job.batch_size, epochs=1, verbose=0, callbacks=[clock])
    step = (clock.times[-1] - clock.times[WARM_BATCHES - 1]) / job.slice_steps
    rows = len(load_rows(job.path / "train.csv")[0])
    seconds = step * job.epochs * -(-rows // job.batch_size)
    return {"train_seconds": seconds, "startup_seconds": ready - job.started, "extrapolated": job.slice_steps}
