"""Adds the baseline to the results of a run: a simple model, fitted on the training rows of the run."""

from collections.abc import Callable, Mapping
from typing import Any

from kerora.data.sources import is_at_hand
from kerora.errors import DataError, KeroraError
from kerora.evaluation.wording import lookup
from kerora.notices import notice
from kerora.runfolder import RunFolder, read_json, write_json
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import EVALUATED, Evaluation
from kerora.tasks.registry import Task

# above this number of training rows, a baseline would take minutes
MOST_ROWS = 200_000


def add_baseline(
    run: RunFolder,
    task: Task,
    config: FitConfig,
    model: Any,
    train: Any,
    rows: Mapping[str, Any],
    evaluation: Evaluation,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Compute the baseline and add it to metrics.json.

    A baseline that cannot be computed never makes a run fail: a notice gives the reason.

    Args:
        run: the folder with metrics.json.
        task: the task of the run.
        config: the settings of the run.
        model: the trained model.
        train: the training rows of the run.
        rows: the evaluated rows by split.
        evaluation: the results of the model for these rows.
        say: is called with one line before the work.

    Returns:
        The baseline by split. Empty if there is none.
    """
    if not rows or not is_wanted(config, train):
        return {}
    say("Fitting a baseline")
    try:
        found = compute_baseline(task, config, model, train, rows, evaluation)
    except KeyboardInterrupt:
        notice(f"No baseline: it was interrupted. `kerora evaluate {run.path}` computes it.")
        raise
    if found:
        write_json(run.metrics, {**read_json(run.metrics), "baseline": found})
    return found


def is_wanted(config: FitConfig, train: Any) -> bool:
    """Tell whether the settings ask for a baseline of these training rows. A notice says if there are too many."""
    if config.training.baseline is None and len(train) > MOST_ROWS:
        count = f"{len(train):,} training {train.noun}"
        notice(
            f"No baseline: there are {count}, and the default computes one for up to {MOST_ROWS:,}. "
            "--baseline computes it."
        )
        return False
    return config.training.baseline is not False


def compute_baseline(
    task: Task, config: FitConfig, model: Any, train: Any, rows: Mapping[str, Any], evaluation: Evaluation
) -> dict[str, Any]:
    """Return the baseline by split. Empty if it cannot be computed; a notice gives the reason."""
    try:
        return task.baselines.baseline(config, model, train, rows, evaluation)
    # whatever fails here, also for want of memory: the trained model is worth more than its comparison
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        notice(f"No baseline: {reason}" if isinstance(error, KeroraError) else f"No baseline. It failed with: {reason}")
        return {}


def training_rows(run: RunFolder, task: Task, config: FitConfig) -> Any:
    """Read the training rows of a run again.

    Args:
        run: the run.
        task: the task of the run.
        config: the settings of the run. Data of a hub or of TFDS is read only with ``training.baseline`` true,
            because it can need a download.

    Raises:
        DataError: the rows are not there, changed, or are not known.
    """
    spec = config.data.train or config.data.source
    if not config.training.baseline and not is_at_hand(config.data):
        raise DataError(f"The training rows of {run.path}, {spec}, are not read again by default. Add --baseline.")
    rows = task.rows.load(config, EVALUATED)["train"]
    if rows.fingerprint() != lookup(run.read_manifest(), "data", "splits", "train", "sha256"):
        raise DataError(f"The training rows in {spec} changed since {run.path} was trained. Restore them.")
    return rows
