"""Loads data for language models: whole data sets, or one part of a source."""

from kerora.data.document_reader import DocumentReader
from kerora.data.documents import Documents
from kerora.data.rows import Dataset
from kerora.data.sources import load_splits, read_part
from kerora.settings.fit import DataConfig
from kerora.settings.language import LanguageConfig


def load_documents(config: DataConfig, language: LanguageConfig, seed: int = 42) -> Dataset[Documents]:
    """Load the texts of a language model with their splits, limited to a subset if one is set.

    A plain text file is one text. Its last share becomes a missing validation or test part. From a table these parts
    are sampled by row, and from a folder with enough files by file. `train`, `validation` and `test` work as in
    `kerora.data.sources.load_dataset`.

    Args:
        config: the source, its text column and the splits.
        language: the other columns.
        seed: seed of the splits and the subset. Default: 42.

    Raises:
        DataError: a file or a row cannot be used. The error gives the place and the remedy.
    """
    return load_splits(config, DocumentReader(language), seed)


def load_split(spec: str, config: DataConfig, language: LanguageConfig, split: str = "test") -> Documents:
    """Load the texts of one part of a source. A file, or a folder without parts, is loaded whole.

    Raises:
        DataError: the source has no such part, or it cannot be used.
    """
    return read_part(spec, config, DocumentReader(language), split).rows
