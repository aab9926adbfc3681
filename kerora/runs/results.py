"""Reads the results in the folder of a run of any task, without loading a model."""

from kerora.evaluation.results import RunResults, read_common
from kerora.runfolder import RunFolder
from kerora.tasks.registry import Task, task_of_manifest


def read_results(run: RunFolder) -> RunResults:
    """Read the results of a run, in the form of its task.

    Raises:
        RunError: a needed file is missing, or a file is damaged. The message names the file, line and column.
    """
    manifest = run.read_manifest()
    results = task_of_manifest(run, manifest).results
    found: RunResults = results.read(read_common(run, manifest, results.needed(run)))
    return found


def task_of(results: RunResults) -> Task:
    """Return the task of a run that was read."""
    return task_of_manifest(results.folder, results.manifest)
