"""Rows with any number of labels."""

from collections.abc import Sequence

from kerora.data.classes import ClassLabels
from kerora.data.rows import Dataset, Rows
from kerora.data.several import LabelSetReader, sets_for_run
from kerora.data.sources import load_splits, read_part
from kerora.errors import DataError
from kerora.settings.fit import FitConfig
from kerora.tasks.multi_label.audit_screen import show_audit
from kerora.tasks.whole_text.rows import check_fits, counts

# these too: they are functions of the contract, and only imported here
__all__ = ["check_fits", "counts", "load", "load_part", "show"]


def load(config: FitConfig, without: Sequence[str] = ()) -> Dataset[Rows[tuple[int, ...]]]:
    """Load rows with labels."""
    return load_splits(config.data, LabelSetReader(config.data.label_separator), config.training.seed, without)


def load_part(spec: str, config: FitConfig, labels: ClassLabels, split: str) -> Rows[tuple[int, ...]]:
    """Load rows with the labels of a run."""
    part = read_part(spec, config.data, LabelSetReader(config.data.label_separator), split)
    if part.unlabelled is not None:
        reason = part.unlabelled.removeprefix(f"{part.source}: ")
        raise DataError(
            f"{part.source} has no labels to compare with: {reason} `kerora predict RUN {spec}` predicts its texts."
        )
    return sets_for_run(part, labels, config.data)


def show(config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
    """Print the audit of the rows; see `kerora.tasks.multi_label.audit_screen.show_audit`."""
    show_audit(load(config), preset, config.model, rows, as_json)
