"""Rows of texts with numbers."""

from collections.abc import Sequence

from kerora.data.numbers import NumberReader, NumberRows, mark_unlabelled
from kerora.data.rows import Dataset
from kerora.data.sources import load_splits, read_part
from kerora.errors import DataError, quoted
from kerora.settings.fit import FitConfig
from kerora.tasks.regression.audit_screen import show
from kerora.tasks.regression.labels import Targets

# `show` too: it is a function of the contract, and only imported here
__all__ = ["check_fits", "counts", "load", "load_part", "show"]


def load(config: FitConfig, without: Sequence[str] = ()) -> Dataset[NumberRows]:
    """Load rows with numbers."""
    return load_splits(config.data, NumberReader(), config.training.seed, without)


def load_part(spec: str, config: FitConfig, targets: Targets, split: str) -> NumberRows:
    """Load rows with as many numbers as the run has targets."""
    part = read_part(spec, config.data, NumberReader(), split)
    mark_unlabelled(part)
    if part.unlabelled is not None:
        reason = part.unlabelled.removeprefix(f"{part.source}: ")
        raise DataError(
            f"{part.source} has no numbers to compare with: {reason} `kerora predict RUN {spec}` predicts its texts."
        )
    _check_names(part.names, targets, part.source, "the run")
    return part.rows


def check_fits(dataset: Dataset[NumberRows], targets: Targets, run: object) -> None:
    """Check that the dataset has as many numbers as a run."""
    _check_names(dataset.classes, targets, dataset.name, run)


def counts(dataset: Dataset[NumberRows]) -> str:
    """Return the number of rows of each split, and the number of targets."""
    rows = ", ".join(f"{split} {len(rows)}" for split, rows in dataset)
    return f"{rows} rows, {_number_of(dataset.classes)}"


def _check_names(names: Sequence[str], targets: Targets, source: object, run: object) -> None:
    # one number can have any name, as a label column can; of several, the names tell which is which
    if len(names) != len(targets.names) or (len(names) > 1 and tuple(names) != targets.names):
        raise DataError(
            f"{source} has {_number_of(names)} ({quoted(names)}), but {run} has {_number_of(targets.names)} "
            f"({quoted(targets.names)}). Name these columns with --label {','.join(targets.names)}."
        )


def _number_of(names: Sequence[str]) -> str:
    return f"{len(names)} target{'s' * (len(names) != 1)}"
