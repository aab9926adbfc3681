"""What an export is compared on: real rows, as the run's own model reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.rows import Dataset, Rows, S
from kerora.errors import DataError, KeroraError
from kerora.settings.fit import FitConfig

ROWS = 32
COLUMNS = {"token_ids": "ids", "padding_mask": "attention_mask", "segment_ids": "type_ids"}
"""What `tokenizers` calls the inputs."""
_BATCH = 8


@dataclass(frozen=True)
class Probe:
    """Rows to compare on.

    Attributes:
        rows: the texts.
        source: name of their data set.
        inputs: the model's inputs, one padded batch.
        per_token: the logits are those of every real token, not of a row.
    """

    rows: Rows[Any]
    source: str
    inputs: dict[str, np.ndarray]
    per_token: bool = False

    def logits(self, compute: Callable[[dict[str, np.ndarray]], Any]) -> np.ndarray:
        """Return the logits to compare, float32: of rows (rows, values), of tokens (real tokens, values).

        Args:
            compute: takes inputs and returns logits, (batch, values) or (batch, length, values).
        """
        with torch.no_grad():
            if not self.per_token:
                return _numpy(compute(self.inputs))
            parts = []
            for start in range(0, len(self.rows), _BATCH):
                part = {name: value[start : start + _BATCH] for name, value in self.inputs.items()}
                parts.append(_numpy(compute(part))[part["padding_mask"] > 0])
            return np.concatenate(parts)

    def tokens(self) -> list[list[int]]:
        """Return the token ids of each row, without padding."""
        pairs = zip(self.inputs["token_ids"], self.inputs["padding_mask"], strict=True)
        return [ids[mask > 0].tolist() for ids, mask in pairs]

    def share_of_same_tokens(self, theirs: Sequence[Sequence[int]]) -> float:
        """Return the share of rows that another tokenizer turns into the same tokens, up to where they are cut."""
        same = [list(other[: len(own)]) == own for own, other in zip(self.tokens(), theirs, strict=True)]
        return float(np.mean(same))


def dataset_or_tickets(load: Callable[[FitConfig], Dataset[S]], config: FitConfig) -> Dataset[S]:
    """Load a run's own data, or where it is not here any more the bundled tickets, as the task reads them."""
    try:
        return load(config)
    except (KeroraError, OSError):
        return load(FitConfig())


def probed_rows(dataset: Dataset[S]) -> S:
    """Return the rows of the part that an export is compared on: of test, else validation, else train.

    Raises:
        DataError: there are none.
    """
    split = next((split for split in ("test", "validation", "train") if split in dataset.splits), None)
    if split is None or not len(dataset.splits[split]):
        raise DataError("There are no rows to verify the export with.")
    return dataset.splits[split]


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)
