"""Labelled rows."""

from collections.abc import Sequence

from kerora.data.classes import ClassLabels
from kerora.data.rows import Dataset, Rows
from kerora.data.sources import load_dataset, load_rows
from kerora.settings.fit import FitConfig
from kerora.tasks.classification.audit_screen import show
from kerora.tasks.whole_text.rows import check_fits, counts

# these too: they are functions of the contract, and only imported here
__all__ = ["check_fits", "counts", "load", "load_part", "show"]


def load(config: FitConfig, without: Sequence[str] = ()) -> Dataset[Rows[int]]:
    """Load labelled rows."""
    return load_dataset(config.data, config.training.seed, without=without)


def load_part(spec: str, config: FitConfig, labels: ClassLabels, split: str) -> Rows[int]:
    """Load rows with the classes of a run."""
    return load_rows(spec, config.data, labels, split)
