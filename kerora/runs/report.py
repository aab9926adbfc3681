"""`kerora report`: makes pages, pictures and tables from run folders.

It reads only the files of a run folder and loads no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from kerora.errors import RunError
from kerora.evaluation.report_files import check_output, finite, write_files
from kerora.evaluation.results import RunResults
from kerora.runfolder import RunFolder, write_text
from kerora.runs.results import read_results, task_of
from kerora.tasks.registry import Task


@dataclass(frozen=True)
class RunSummary:
    """The report of one run.

    Attributes:
        results: the run.
        split: the split that is reported. None if the task reports all splits.
        files: paths of the written files, by file name.
    """

    results: RunResults
    split: Any
    files: Mapping[str, Path]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values for JSON."""
        return {
            "run": str(self.results.folder.path),
            "files": {name: str(path) for name, path in self.files.items()},
            **task_of(self.results).results.summary(self.results, self.split),
            "training_seconds": self.results.manifest.get("training_seconds"),
        }


@dataclass(frozen=True)
class ReportSummary:
    """The result of `write_report`.

    Attributes:
        task: the task of the runs.
        runs: one summary per run.
        page: the page to open: report.html of the run, or the comparison of several runs.
        comparison: the comparison of the runs. None for one run.
    """

    task: Task
    runs: tuple[RunSummary, ...]
    page: Path
    comparison: Any = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values for JSON. Numbers that are not finite become None."""
        comparison = self.comparison.as_dict() if self.comparison else None
        runs = [run.as_dict() for run in self.runs]
        plain: dict[str, Any] = finite({"page": str(self.page), "runs": runs, "comparison": comparison})
        return plain


def report(*runs: Path | str, output: Path | str | None = None, split: str | None = None) -> ReportSummary:
    """Write the report of a run, or the reports of several runs and their comparison. See `write_report`.

    Args:
        runs: paths of run folders.
        output: path of the page.
        split: the split to report.

    Raises:
        RunError: see `write_report`. Also if a path is not a run folder.
    """
    return write_report([RunFolder.open(run) for run in runs], None if output is None else Path(output), split)


def write_report(
    runs: Sequence[RunFolder], output: Path | None = None, split: str | None = None, version: str | None = None
) -> ReportSummary:
    """Write the report of each run into its folder. For several runs, also write a page that compares them.

    All runs are read before anything is written.

    Args:
        runs: one run folder or more, of one task.
        output: path of the comparison of several runs (default: comparison.html in the report folder of the
            first run), or of a copy of the page of a single run.
        split: the split to report. None takes test if it was evaluated, else validation.
        version: Kerora's version for the footer. None takes the version of the installed package.

    Raises:
        RunError: a file of a run is missing or damaged, a run does not have the split, a run is given twice, the runs
            have different tasks, or `output` is not an HTML file, exists and is not a report, or cannot be written.
    """
    if output is not None:
        check_output(output)
    version = version or _installed_version()
    results = [read_results(run) for run in runs]
    task = _one_task(results)
    chosen = [task.results.split(result, split) for result in results]
    comparison = task.results.compare(results, split) if len(results) > 1 else None
    # all pages are rendered before the first is written, so an error leaves no incomplete report
    pages = [task.page.render(result, part, version) for result, part in zip(results, chosen, strict=True)]
    summaries = tuple(
        RunSummary(result, part, _write_run(task, result, part, page))
        for result, part, page in zip(results, chosen, pages, strict=True)
    )
    # the comparison links to these pages, so it is made after them
    own_pages = [summary.files["report.html"] for summary in summaries]
    if comparison is None:
        if output is not None:
            write_text(output, pages[0])
        return ReportSummary(task, summaries, output or own_pages[0])
    target = output or runs[0].report / "comparison.html"
    write_text(target, task.page.render_comparison(comparison, own_pages, target, version))
    return ReportSummary(task, summaries, target, comparison)


def _one_task(results: Sequence[RunResults]) -> Task:
    first, *others = results
    task = task_of(first)
    for other in others:
        if task_of(other) != task:
            raise RunError(
                f"{other.folder.path} is a {task_of(other).title}, but {first.folder.path} is a {task.title}. Compare "
                "runs of one task."
            )
    return task


def _write_run(task: Task, results: RunResults, split: Any, page: str) -> dict[str, Path]:
    return write_files(results.folder.report, {"report.html": page, **task.page.files(results, split)})


def _installed_version() -> str:
    try:
        return metadata.version("kerora")
    except metadata.PackageNotFoundError:
        return "(not installed)"
