"""Reads the results in the folder of a run of any task, without loading a model."""

from collections.abc import Mapping
from typing import Any

from kerora.errors import RunError
from kerora.evaluation.results import RunResults, read_common
from kerora.notices import notice
from kerora.runfolder import RunFolder, read_json
from kerora.tasks.registry import Task, task_of_manifest


def read_results(run: RunFolder) -> RunResults:
    """Read the results of a run, in the form of its task.

    If no rows of the run itself were evaluated, the newest evaluation of other rows is read, and a notice says so.

    Raises:
        RunError: a needed file is missing, or a file is damaged. The message names the file, line and column. Or
            nothing was evaluated.
    """
    manifest = run.read_manifest()
    results = task_of_manifest(run, manifest).results
    own = _has_own_rows(run, manifest)
    source = run if own else _newest_evaluation(run)
    try:
        found: RunResults = results.read(read_common(source, manifest, results.needed(source)))
    except RunError as error:
        if own or source is not run or manifest.get("state") != "finished":
            raise
        raise RunError(
            f"{run.path} has no evaluated rows. Evaluate it on labelled rows with `kerora evaluate {run.path} --test "
            "FILE`, and then repeat this command."
        ) from error
    return found


def _has_own_rows(run: RunFolder, manifest: Mapping[str, Any]) -> bool:
    # damaged and deleted files must be named, so they count as rows
    if run.metrics.is_file():
        return read_json(run.metrics).get("after") != {}
    return "imported_from" not in manifest and "saved_by" not in manifest


def _newest_evaluation(run: RunFolder) -> RunFolder:
    """Return the run with the files of its newest evaluation, or the run itself if there is none."""
    found = sorted(run.evaluations.glob("*/metrics.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        return run
    notice(
        f"{run.path} was trained without validation and test rows. Its results are those of the evaluation "
        f"{found[-1].parent}."
    )
    source, evaluation = RunFolder(run.path), RunFolder(found[-1].parent)
    source.metrics, source.predictions = evaluation.metrics, evaluation.predictions
    return source


def task_of(results: RunResults) -> Task:
    """Return the task of a run that was read."""
    return task_of_manifest(results.folder, results.manifest)
