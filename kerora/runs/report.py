"""`kerora report`: from run folders to pages, pictures and tables.

Only the files of a run folder are read; no model is loaded.
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
    """What was reported of one run.

    Attributes:
        results: the run.
        split: the split reported; None where the task reports all of them.
        files: what was written, by file name.
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
    """What `write_report` did.

    Attributes:
        task: the task of the runs.
        runs: one summary a run.
        page: the page to open: the run's report.html, or the comparison of several runs.
        comparison: the runs side by side; None for one run.
    """

    task: Task
    runs: tuple[RunSummary, ...]
    page: Path
    comparison: Any = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values for JSON; numbers that are not finite become None."""
        comparison = self.comparison.as_dict() if self.comparison else None
        runs = [run.as_dict() for run in self.runs]
        plain: dict[str, Any] = finite({"page": str(self.page), "runs": runs, "comparison": comparison})
        return plain


def report(*runs: Path | str, output: Path | str | None = None, split: str | None = None) -> ReportSummary:
    """Write the report of a run, or of several runs with their comparison; see `write_report`.

    Args:
        runs: paths of run folders.
        output: where the page goes.
        split: the split to report.

    Raises:
        RunError: as `write_report`, or a path is no run folder.
    """
    return write_report([RunFolder.open(run) for run in runs], None if output is None else Path(output), split)


def write_report(
    runs: Sequence[RunFolder], output: Path | None = None, split: str | None = None, version: str | None = None
) -> ReportSummary:
    """Write the report of each run into its folder, and of several runs a page that compares them.

    Nothing is written before every run has been read.

    Args:
        runs: one run folder or more, of one task.
        output: where the page goes: the comparison of several runs (default: comparison.html in the
            first run's report folder), or a copy of the single run's page.
        split: the split to report; None takes test where it was evaluated, else validation.
        version: Kerora's version for the footer; None asks the installed package.

    Raises:
        RunError: a run's file is missing or damaged, the split is not there, a run is given twice, the runs are of
            several tasks, or `output` is not an HTML file, would replace a file that is no report, or cannot be
            written.
    """
    if output is not None:
        check_output(output)
    version = version or _installed_version()
    results = [read_results(run) for run in runs]
    task = _one_task(results)
    chosen = [task.results.split(result, split) for result in results]
    comparison = task.results.compare(results, split) if len(results) > 1 else None
    pages = [task.page.render(result, part, version) for result, part in zip(results, chosen, strict=True)]
    summaries = tuple(
        RunSummary(result, part, _write_run(task, result, part, page))
        for result, part, page in zip(results, chosen, pages, strict=True)
    )
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
                f"{other.folder.path} is a {task_of(other).title}, {first.folder.path} a {task.title}. Compare runs of "
                "one task."
            )
    return task


def _write_run(task: Task, results: RunResults, split: Any, page: str) -> dict[str, Path]:
    return write_files(results.folder.report, {"report.html": page, **task.page.files(results, split)})


def _installed_version() -> str:
    try:
        return metadata.version("kerora")
    except metadata.PackageNotFoundError:
        return "(not installed)"
