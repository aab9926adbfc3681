"""The outputs of a model for labelled rows, for the callbacks that evaluate after each epoch."""

from typing import Any

import keras
import numpy as np


def labels_and_outputs(model: keras.Model, data: Any, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of rows as they are, and the outputs of a model for them in float64, in the order of `data`.

    Args:
        model: the model.
        data: a `PyDataset`, or ``(x, y)`` arrays. Row weights are left out, because metrics count each row once.
        batch_size: rows in a batch if `data` is arrays.
    """
    if isinstance(data, keras.utils.PyDataset):
        # One batch at a time. All batches at once would hold several copies of the tokens in memory.
        batches = (data[index] for index in range(data.num_batches))
        parts = [(np.asarray(y), model.predict_on_batch(x)) for x, y, *_ in batches]
        labels, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    else:
        labels = np.asarray(data[1])
        outputs = model.predict(data[0], batch_size=batch_size, verbose=0)
    return labels, np.asarray(outputs, dtype=np.float64)
