"""The data of language models: texts, prompts with completions, and conversations."""

from collections.abc import Sequence

from kerora.data.document_reader import DocumentReader
from kerora.data.documents import Documents
from kerora.data.language import load_split
from kerora.data.rows import Dataset
from kerora.data.sources import load_splits
from kerora.settings.fit import FitConfig
from kerora.tasks.language.audit_screen import show

# `show` too: it is a function of the contract, and only imported here
__all__ = ["check_fits", "counts", "load", "load_part", "show"]


def load(config: FitConfig, without: Sequence[str] = ()) -> Dataset[Documents]:
    """Load texts."""
    return load_splits(config.data, DocumentReader(config.language), config.training.seed, without)


def load_part(spec: str, config: FitConfig, head: None, split: str) -> Documents:
    """Load the texts of one part of a source."""
    return load_split(spec, config.data, config.language, split)


def check_fits(dataset: Dataset, head: None, run: object) -> None:
    """Check nothing: any text fits any language model."""


def counts(dataset: Dataset[Documents]) -> str:
    """Return the number of texts of each split."""
    return f"{', '.join(f'{split} {len(rows)}' for split, rows in dataset)} texts"
