"""What `kerora tune` asks of language models."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np

from kerora.data.document_reader import DocumentReader
from kerora.data.documents import Documents
from kerora.data.rows import Dataset
from kerora.errors import ConfigError
from kerora.evaluation.metrics import LANGUAGE_METRICS
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig
from kerora.tasks.language.measure import TextLosses
from kerora.tasks.language.task import LanguageReport

METRICS = LANGUAGE_METRICS
# the value that early stopping monitors by default
METRIC = "loss"
SPACE = "lora-language"
FEWEST_TEXTS = 10
"""Fewest texts to resample. Every resample of a single text, such as a book, is that text."""


def reader(config: FitConfig) -> DocumentReader:
    """Return the reader of texts."""
    return DocumentReader(config.language)


def check(metric: str, dataset: Dataset[Documents], searched: Collection[str]) -> None:
    """Refuse metrics of tokens if the search compares base models, because each divides a text into its own tokens."""
    if "model.preset" in searched and metric != "bits_per_byte":
        raise ConfigError(
            f"--metric {metric} counts tokens, and the searched base models (model.preset) may have different "
            "tokenizers. Use --metric bits_per_byte."
        )


def predictions(validation: keras.callbacks.Callback, rows: Documents) -> dict[str, np.ndarray]:
    """Return the loss of each text, and its predicted tokens and their bytes."""
    assert isinstance(validation, LanguageReport) and validation.losses is not None
    found = validation.losses
    return {
        "losses": found.losses.astype(np.float32),
        "tokens": found.tokens.astype(np.uint32),
        "sizes": found.sizes.astype(np.uint32),
    }


def resampled(
    metric: str, predictions: Mapping[str, np.ndarray], dataset: Dataset[Documents]
) -> Callable[[np.ndarray], float] | str:
    """Return a function that computes one of `METRICS`."""
    texts = len(dataset["validation"])
    if texts < FEWEST_TEXTS:
        return f"the test needs at least {FEWEST_TEXTS} validation texts. Their number is {texts}"
    losses, tokens, sizes = (predictions[name] for name in ("losses", "tokens", "sizes"))
    found = TextLosses(losses.astype(np.float64), tokens.astype(np.int64), sizes.astype(np.int64))

    def value(counts: np.ndarray) -> float:
        number = found.metrics(counts)[metric]
        return math.nan if number is None else float(number)

    return value


def weak(metrics: Mapping[str, Any], dataset: Dataset[Documents]) -> None:
    """Return None: there is no constant answer to compare with."""


def submission(run: RunFolder) -> None:
    """Return None: a language model predicts no rows."""
