"""What an export is compared on: 32 real rows, as the run's own model reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.language import load_documents
from kerora.data.rows import Dataset, Rows
from kerora.data.sources import load_dataset
from kerora.errors import DataError, KeroraError
from kerora.models.causal_lm import CausalLM
from kerora.models.task import Task
from kerora.settings.fit import FitConfig

ROWS = 32
CHARACTERS = 400
"""Of a piece of a text that a language model is compared on, at most."""
FEWEST_CHARACTERS = 24
LONGEST = 64
VALUES = 1 << 26
"""Logits of a language model that are held at once at most: with a large vocabulary the pieces are shorter."""
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
        language: the logits are those of the next token at every real token.
    """

    rows: Rows
    source: str
    inputs: dict[str, np.ndarray]
    language: bool

    def logits(self, compute: Callable[[dict[str, np.ndarray]], Any]) -> np.ndarray:
        """Return the logits to compare, float32: (rows, classes), of a language model (real tokens, vocabulary).

        Args:
            compute: takes inputs and returns logits, (batch, classes) or (batch, length, vocabulary).
        """
        with torch.no_grad():
            if not self.language:
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


def probe_of(model: Task, config: FitConfig) -> Probe:
    """Return 32 rows of a run's own data, or where they are not here any more of the bundled tickets.

    A language model's are the beginnings of its texts, and where these are few the pieces that follow.

    Raises:
        DataError: there are no rows.
    """
    language = isinstance(model, CausalLM)
    dataset = _dataset(config, language)
    split = next((split for split in ("test", "validation", "train") if split in dataset.splits), None)
    if split is None or not len(dataset.splits[split]):
        raise DataError("There are no rows to verify the export with.")
    found = dataset.splits[split]
    if not language:
        pairs = None if found.pairs is None else found.pairs[:ROWS]
        rows: Rows = Rows(found.texts[:ROWS], found.ids[:ROWS], pairs=pairs)
        return Probe(rows, dataset.name, model.encode(rows.texts, rows.pairs), language)
    rows = _pieces(found)
    length = min(model.max_length, LONGEST, max(8, VALUES // (ROWS * model.backbone.token_embedding.input_dim)))
    inputs = {name: value[:, :length] for name, value in model.encode(rows.texts).items()}
    return Probe(rows, dataset.name, inputs, language)


def our_logits(model: Task, probe: Probe) -> np.ndarray:
    """Return a model's logits of the rows."""
    if isinstance(model, CausalLM):
        return probe.logits(model.logits)
    return probe.logits(lambda inputs: model(inputs, training=False))


def _dataset(config: FitConfig, language: bool) -> Dataset:
    seed = config.training.seed
    try:
        return load_documents(config.data, config.language, seed) if language else load_dataset(config.data, seed)
    except (KeroraError, OSError):
        return load_dataset("tickets", 0)


def _pieces(found: Rows) -> Rows:
    rows: Rows = Rows([], [])
    share = CHARACTERS if len(found) >= ROWS else sum(map(len, found.texts)) // (ROWS + len(found))
    size = max(FEWEST_CHARACTERS, min(CHARACTERS, share))
    for start in range(0, max(map(len, found.texts)), size):
        for text, identifier in zip(found.texts, found.ids, strict=True):
            piece = text[start : start + size].strip()
            if piece:
                rows.texts.append(piece)
                rows.ids.append(identifier)
            if len(rows.texts) == ROWS:
                return rows
    return rows


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)
