"""The rows on which an export is compared with its run: real rows, as inputs of the model of the run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.rows import Dataset, Rows, S
from kerora.errors import DataError, KeroraError
from kerora.models.checks import check_outputs
from kerora.settings.fit import FitConfig

# an export may change the label of 1 row in 16, so of two of these
ROWS = 32
COLUMNS = {"token_ids": "ids", "padding_mask": "attention_mask", "segment_ids": "type_ids"}
"""The names of the inputs in the package `tokenizers`."""
# logits per token are (batch, length, vocabulary): small batches keep them in memory
_BATCH = 8


@dataclass(frozen=True)
class Probe:
    """Rows to compare on.

    Attributes:
        rows: the texts.
        source: name of the data set.
        inputs: the inputs of the model, one padded batch.
        per_token: whether the logits belong to tokens (language model) instead of rows. Padding is left out.
    """

    rows: Rows[Any]
    source: str
    inputs: dict[str, np.ndarray]
    per_token: bool = False

    def logits(self, compute: Callable[[dict[str, np.ndarray]], Any]) -> np.ndarray:
        """Return the logits to compare, float32, shape (rows, values), or per token (tokens without padding, values).

        Args:
            compute: takes inputs and returns logits, (batch, values) or (batch, length, values).

        Raises:
            NotFiniteError: a logit is not finite. A comparison with it would pass.
        """
        found = self._computed(compute)
        check_outputs(found)
        return found

    def _computed(self, compute: Callable[[dict[str, np.ndarray]], Any]) -> np.ndarray:
        # the states that gradients need would fill the memory for nothing
        with torch.no_grad():
            if not self.per_token:
                return _numpy(compute(self.inputs))
            parts = []
            for start in range(0, len(self.rows), _BATCH):
                part = {name: value[start : start + _BATCH] for name, value in self.inputs.items()}
                # (batch, length, vocabulary) -> (tokens, vocabulary): padding goes before the parts are joined
                parts.append(_numpy(compute(part))[part["padding_mask"] > 0])
            return np.concatenate(parts)

    def tokens(self) -> list[list[int]]:
        """Return the token ids of each row, without padding."""
        pairs = zip(self.inputs["token_ids"], self.inputs["padding_mask"], strict=True)
        return [ids[mask > 0].tolist() for ids, mask in pairs]

    def share_of_same_tokens(self, theirs: Sequence[Sequence[int]]) -> float:
        """Return the share of the rows that another tokenizer turns into the same tokens.

        Args:
            theirs: its token ids of each row, not truncated. Only the part that the model reads is compared.
        """
        # the rows of the run may be cut, those of the other tokenizer are not
        same = [list(other[: len(own)]) == own for own, other in zip(self.tokens(), theirs, strict=True)]
        return float(np.mean(same))


def compare(logits: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Return the largest absolute difference of a logit, and the share of the rows with the same largest logit.

    Args:
        logits: shape (rows, values), or per token (tokens, values).
        reference: the same of the run.
    """
    same = (logits.argmax(axis=1) == reference.argmax(axis=1)).mean()
    return float(np.abs(logits - reference).max()), float(same)


def dataset_or_tickets(
    load: Callable[[FitConfig], Dataset[S]],
    config: FitConfig,
    tickets: Callable[[FitConfig], Dataset[Any]] | None = None,
) -> Dataset[Any]:
    """Load a run's own data, or where it is not here any more the bundled tickets.

    Args:
        load: reads the data as the task does.
        config: the settings of the run.
        tickets: reads the tickets. Default: `load`.
    """
    try:
        return load(config)
    # the data may have been moved, changed or deleted since the fit
    except (KeroraError, OSError):
        # the default data set is the tickets
        return (tickets or load)(FitConfig())


def probed_rows(dataset: Dataset[S]) -> S:
    """Return the rows to compare an export on: the test rows, else the validation rows, else the training rows.

    Raises:
        DataError: there are no rows.
    """
    # a run need not have test or validation rows
    split = next((split for split in ("test", "validation", "train") if split in dataset.splits), None)
    if split is None or not len(dataset.splits[split]):
        raise DataError(f"{dataset.name} has no rows to verify the export with. Add rows to the data of the run.")
    return dataset.splits[split]


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)
