"""What the tasks share whose rows have classes."""

from typing import Any

from kerora.data.classes import ClassLabels
from kerora.data.labels import label_of
from kerora.data.rows import Dataset, Rows
from kerora.errors import DataError


def check_fits(dataset: Dataset[Rows[Any]], labels: ClassLabels, run: object) -> None:
    """Check that the dataset has the classes of a run, and the same labels for them."""
    # an older run can hold the same classes in another form, such as 1.0 for 1
    same_names = list(map(label_of, dataset.classes)) == list(map(label_of, labels.names))
    if not same_names or labels.values not in ((), dataset.values):
        raise DataError(
            f"The rows of {dataset.name} have other classes than {run}. Give data with the classes of the run."
        )


def counts(dataset: Dataset[Rows[Any]]) -> str:
    """Return the number of rows of each split, and the number of classes."""
    rows = ", ".join(f"{split} {len(rows)}" for split, rows in dataset)
    return f"{rows} rows, {len(dataset.classes)} classes"
