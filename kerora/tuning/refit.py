"""Trains the best settings again on training and validation rows, and evaluates once on the test rows."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from kerora.data.files import require_file
from kerora.data.rows import Dataset
from kerora.data.save import save_dataset
from kerora.data.sources import has_test_rows
from kerora.errors import ConfigError
from kerora.places import expanded
from kerora.runfolder import RunFolder, write_text
from kerora.runs.submission import submission_text
from kerora.settings.fit import DataConfig, FitConfig
from kerora.tasks.registry import Task
from kerora.training.fit import fit, resume
from kerora.training.progress import Progress
from kerora.tuning.records import Record
from kerora.tuning.search import Search


def check_refit(task: Task, config: FitConfig) -> None:
    """Check before the search that test rows exist. This reads no test row.

    Raises:
        ConfigError: there are no test rows.
        DataError: the file of the test rows does not exist.
    """
    data = config.data
    # before the search: a wrong path must not show up after hours
    if data.test is not None and not expanded(data.test).is_dir():
        require_file(expanded(data.test))
    if not has_test_rows(data, task.search.reader(config)):
        raise ConfigError("--refit needs test rows. Give --test, or a --test-split greater than 0.")


def refit(search: Search, best: Record, progress: Progress | None = None, argv: Sequence[str] = ()) -> RunFolder:
    """Train the best settings on training and validation rows together, and write submission.csv if rows are predicted.

    No validation rows are left for early stopping, so the refit trains as many epochs as the search kept.
    An existing refit of the same trial is not repeated.

    Raises:
        KeroraError: as in `kerora.fit`.
    """
    task = search.bench.task
    run = RunFolder(search.folder.path / f"refit-trial-{best.number}")
    state = run.read_manifest().get("state") if run.manifest.is_file() else None
    if state is None:
        data = search.folder.path / "refit-data"
        # the seed of the study and not of the trial, so that the same rows are held out as in the search
        own = search.with_own_rows(best.config)
        training = dataclasses.replace(own.training, seed=search.config.training.seed)
        whole = task.rows.load(dataclasses.replace(own, training=training))
        save_dataset(_joined(whole), data, force=True)
        fit(_config(best, data, run.path), progress=progress, argv=argv)
    # `fit` would refuse the folder of an interrupted refit
    elif state != "finished":
        resume(str(run.path), progress=progress)
    text = _submission(task, run)
    if text is not None:
        write_text(search.folder.submission, text)
    return run


def _config(best: Record, data: Path, run: Path) -> FitConfig:
    config = best.config
    # with --max-steps the number of updates is the limit, not the epochs
    epochs = config.training.epochs if config.training.max_steps else math.ceil(best.results["kept_epoch"])
    return dataclasses.replace(
        config,
        run=str(run),
        # no split, because all rows are in the saved parts
        data=DataConfig(source=str(data), validation_split=0.0, test_split=0.0),
        training=dataclasses.replace(config.training, epochs=epochs, early_stopping=False),
    )


def _joined(whole: Dataset) -> Dataset:
    rows = whole["train"]
    rows.extend(whole["validation"])
    kept = {split: part for split, part in whole if split != "validation"}
    return dataclasses.replace(whole, splits={**kept, "train": rows})


def _submission(task: Task, run: RunFolder) -> str | None:
    if run.submission.is_file():  # the test rows have no labels, so the fit predicted them
        return run.submission.read_bytes().decode("utf-8")
    found = task.search.submission(run)
    return None if found is None else submission_text(*found)
