"""Labelled rows."""

from collections.abc import Sequence

from kerora.data.classes import ClassLabels
from kerora.data.labels import label_of
from kerora.data.rows import Dataset, Rows
from kerora.data.sources import load_dataset, load_rows
from kerora.errors import DataError
from kerora.settings.fit import FitConfig
from kerora.tasks.classification.audit_screen import show

# `show` too: it is a function of the contract, and only imported here
__all__ = ["check_fits", "counts", "load", "load_part", "show"]


def load(config: FitConfig, without: Sequence[str] = ()) -> Dataset[Rows[int]]:
    """Load labelled rows."""
    return load_dataset(config.data, config.training.seed, without=without)


def load_part(spec: str, config: FitConfig, labels: ClassLabels, split: str) -> Rows[int]:
    """Load rows with the classes of a run."""
    return load_rows(spec, config.data, labels, split)


def check_fits(dataset: Dataset[Rows[int]], labels: ClassLabels, run: object) -> None:
    """Check that the dataset has the classes of a run, and the same labels for them."""
    # an older run can hold the same classes in another form, such as 1.0 for 1
    same_names = list(map(label_of, dataset.classes)) == list(map(label_of, labels.names))
    if not same_names or labels.values not in ((), dataset.values):
        raise DataError(
            f"The rows of {dataset.name} have other classes than {run}. Give data with the classes of the run."
        )


def counts(dataset: Dataset[Rows[int]]) -> str:
    """Return the number of rows of each split, and the number of classes."""
    rows = ", ".join(f"{split} {len(rows)}" for split, rows in dataset)
    return f"{rows} rows, {len(dataset.classes)} classes"
