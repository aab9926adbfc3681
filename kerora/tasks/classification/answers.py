"""The evaluated answers of a classifier: the `AnswersFace`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerora.data.classes import ClassLabels
from kerora.errors import RunError
from kerora.evaluation.calibration import LEAST_ROWS
from kerora.evaluation.coverage import CoverageCurve, coverage_curve
from kerora.runfolder import RunFolder, read_json
from kerora.tasks.classification.results import SplitResults, read_predictions
from kerora.tasks.whole_text.labels import read_labels

SPLIT = "validation"


def validation_curve(run: RunFolder) -> CoverageCurve:
    """Return the coverage curve of the validation rows of a run.

    Raises:
        RunError: predictions.csv is missing or damaged, holds no such rows or rows of other data, or they are too few.
    """
    facts = run.read_manifest().get("data", {}).get("splits", {}).get(SPLIT, {})
    count = facts.get("rows", 0)
    if count < LEAST_ROWS:
        raise RunError(
            f"--target-accuracy needs at least {LEAST_ROWS} validation rows, but {run.path} was trained with {count}. "
            "Give a threshold with --abstain-below, or train with more validation rows."
        )
    again = f"Write it again with `kerora evaluate {run.path}`."
    if not run.predictions.is_file():
        raise RunError(f"{run.predictions} with the validation rows of the run is missing. {again}")
    recorded = read_json(run.metrics).get("after", {}) if run.metrics.is_file() else {}
    found = read_predictions(run.predictions, read_labels(run.labels), recorded).get(SPLIT)
    if found is None or len(found) != count or not found.agrees or not _has_labels(found, facts.get("labels", {})):
        raise RunError(f"{run.predictions} does not hold the {count:,} validation rows of the run. {again}")
    return coverage_curve(found.scores, found.correct)


def curves(folder: RunFolder, labels: ClassLabels) -> dict[str, CoverageCurve]:
    """Return the coverage curve of each split of predictions.csv."""
    found = read_predictions(folder.predictions, labels)
    return {split: coverage_curve(part.scores, part.correct) for split, part in found.items()}


def unsure(values: Sequence[Any]) -> float:
    """Return 1 minus the difference of the two highest probabilities, 0 to 1."""
    # label, score, then one probability for each class
    second, first = sorted(values[2:])[-2:]
    return float(1 - (first - second))


def _has_labels(found: SplitResults, recorded: dict[str, int]) -> bool:
    """Tell whether each class has as many rows as run.json counts. Older runs do not count them."""
    counts = np.bincount(found.labels, minlength=len(found.classes)).tolist()
    return not recorded or dict(zip(found.classes, counts, strict=True)) == recorded
