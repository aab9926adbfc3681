"""The number of words of new texts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kerora.models.task import computed_in_row_order


def columns(model: Any, submission: bool) -> list[str]:
    return ["words"]


def predict(model: Any, rows: Any, batch_size: int, submission: bool) -> Iterator[list[Any]]:
    yield from ([float(value)] for value in predicted(model, rows, batch_size))


def filled(label: str) -> list[Any]:
    return [label]


def predicted(model: Any, rows: Any, batch_size: int) -> np.ndarray:
    batches = model.batches(rows, batch_size=batch_size, cache=False)
    return computed_in_row_order(batches, 1, lambda inputs: model(inputs, training=False))[:, 0]
