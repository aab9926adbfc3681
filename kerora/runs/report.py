"""`kerora report`: from run folders to pages, pictures and tables.

Only the files of a run folder are read; no model is loaded.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from kerora.errors import RunError
from kerora.evaluation import html, plots
from kerora.evaluation.comparison import Comparison, LanguageComparison, compare, compare_language_models
from kerora.evaluation.metrics import classification_report_text, row_percent
from kerora.evaluation.results import PREDICTION_COLUMNS, RunResults, SplitResults, read_results
from kerora.runfolder import RunFolder, write_bytes, write_text

PAGE_ENDINGS = (".html", ".htm")
_OWN_PAGE = b'<meta name="generator" content="Kerora'


@dataclass(frozen=True)
class RunSummary:
    """What was reported of one run.

    Attributes:
        results: the run.
        split: the split reported; None for a language model, of which all are.
        files: what was written, by file name.
    """

    results: RunResults
    split: SplitResults | None
    files: Mapping[str, Path]

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values for JSON."""
        shared = {"run": str(self.results.folder.path), "files": {name: str(path) for name, path in self.files.items()}}
        seconds = self.results.manifest.get("training_seconds")
        if self.split is None:
            metrics = {"before": self.results.before, "after": self.results.after}
            return {**shared, "metrics": metrics, "training_seconds": seconds}
        return {
            **shared,
            "split": self.split.name,
            "rows": len(self.split),
            "mistakes": int((~self.split.correct).sum()),
            "metrics": self.split.metrics,
            "intervals": {key: list(ends) for key, ends in self.split.intervals.items()},
            "before": self.results.before.get(self.split.name),
            "training_seconds": seconds,
        }


@dataclass(frozen=True)
class ReportSummary:
    """What `write_report` did.

    Attributes:
        runs: one summary a run.
        page: the page to open: the run's report.html, or the comparison of several runs.
        comparison: the runs side by side; None for one run.
    """

    runs: tuple[RunSummary, ...]
    page: Path
    comparison: Comparison | LanguageComparison | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain values for JSON; numbers that are not finite become None."""
        comparison = self.comparison.as_dict() if self.comparison else None
        runs = [run.as_dict() for run in self.runs]
        plain = _finite({"page": str(self.page), "runs": runs, "comparison": comparison})
        assert isinstance(plain, dict)
        return plain


def write_report(
    runs: Sequence[RunFolder], output: Path | None = None, split: str | None = None, version: str | None = None
) -> ReportSummary:
    """Write the report of each run into its folder, and of several runs a page that compares them.

    Nothing is written before every run has been read.

    Args:
        runs: one run folder or more.
        output: where the page goes: the comparison of several runs (default: comparison.html in the
            first run's report folder), or a copy of the single run's page.
        split: the split to report; None takes test where it was evaluated, else validation.
        version: Kerora's version for the footer; None asks the installed package.

    Raises:
        RunError: a run's file is missing or damaged, the split is not there, a run is given twice, or
            `output` is not an HTML file, would replace a file that is no report, or cannot be written.
    """
    if output is not None:
        _check_output(output)
    version = version or _installed_version()
    results = [read_results(run) for run in runs]
    if any(result.is_language_model for result in results):
        return _language_report(results, output, split, version)
    comparison = compare(results, split) if len(results) > 1 else None
    chosen = [result.split(split) for result in results]
    pages = [html.render_report(result, part, version) for result, part in zip(results, chosen, strict=True)]
    summaries = tuple(
        RunSummary(result, part, _write_run(result, part, page))
        for result, part, page in zip(results, chosen, pages, strict=True)
    )
    own_pages = [summary.files["report.html"] for summary in summaries]
    if comparison is None:
        if output is not None:
            write_text(output, pages[0])
        return ReportSummary(summaries, output or own_pages[0])
    target = output or runs[0].report / "comparison.html"
    write_text(target, html.render_comparison(comparison, own_pages, target, version))
    return ReportSummary(summaries, target, comparison)


def _language_report(
    results: Sequence[RunResults], output: Path | None, split: str | None, version: str
) -> ReportSummary:
    comparison = compare_language_models(results, split)
    pages = [html.render_language_report(run, version) for run in results]
    summaries = tuple(
        RunSummary(run, None, _write_language_run(run, page)) for run, page in zip(results, pages, strict=True)
    )
    own_pages = [summary.files["report.html"] for summary in summaries]
    if len(results) == 1:
        if output is not None:
            write_text(output, pages[0])
        return ReportSummary(summaries, output or own_pages[0])
    target = output or results[0].folder.report / "comparison.html"
    write_text(target, html.render_language_comparison(comparison, own_pages, target, version))
    return ReportSummary(summaries, target, comparison)


def _write_language_run(run: RunResults, page: str) -> dict[str, Path]:
    contents: dict[str, str | bytes] = {"report.html": page}
    if run.history:
        contents["curves.png"] = plots.png(plots.curves(run.history, run.best_epoch, ("loss", "perplexity")))
    return _write_files(run.folder.report, contents)


def _write_run(results: RunResults, split: SplitResults, page: str) -> dict[str, Path]:
    title = f"Confusion matrix, {split.name} ({len(split):,} rows)"
    text = classification_report_text(split.labels, split.predicted, split.classes)
    contents: dict[str, str | bytes] = {
        "report.html": page,
        "confusion_matrix.png": plots.png(plots.confusion(split.matrix, split.classes, title)),
        "confusion_matrix.csv": _matrix_csv(split, split.matrix.tolist()),
        "confusion_matrix_percent.csv": _matrix_csv(split, row_percent(split.matrix).round(2).tolist()),
        "classification_report.txt": f"{results.name}: {split.name}, {len(split):,} rows\n\n{text}",
        "errors.csv": _errors_csv(split),
    }
    if results.history:
        contents["curves.png"] = plots.png(plots.curves(results.history, results.best_epoch))
    return _write_files(results.folder.report, contents)


def _write_files(folder: Path, contents: Mapping[str, str | bytes]) -> dict[str, Path]:
    for name, content in contents.items():
        if isinstance(content, bytes):
            write_bytes(folder / name, content)
        else:
            write_text(folder / name, content)
    return {name: folder / name for name in contents}


def _matrix_csv(split: SplitResults, rows: Sequence[Sequence[float]]) -> str:
    lines = ([name, *row] for name, row in zip(split.classes, rows, strict=True))
    return _csv_text([["true \\ predicted", *split.classes], *lines])


def _errors_csv(split: SplitResults) -> str:
    rows = (
        [
            split.ids[place],
            split.name,
            split.texts[place],
            split.classes[split.labels[place]],
            split.classes[split.predicted[place]],
            f"{split.scores[place]:.6f}",
        ]
        for place in split.mistakes()
    )
    return _csv_text([PREDICTION_COLUMNS, *rows])


def _csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV; every text is quoted, so that no spreadsheet splits or trims it."""
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _check_output(output: Path) -> None:
    if output.suffix.lower() not in PAGE_ENDINGS:
        raise RunError(f"--output must name an .html file. Received: {output}")
    if output.is_dir():
        raise RunError(f"--output {output} is a folder. Give the path of an .html file.")
    if output.exists():
        try:
            with output.open("rb") as stream:
                own = _OWN_PAGE in stream.read(1000)
        except OSError as error:
            raise RunError(f"Cannot read {output}: {error.strerror}. Choose another --output.") from error
        if not own:
            raise RunError(
                f"{output} exists and is not a Kerora report, so it is not replaced. Choose another --output."
            )


def _installed_version() -> str:
    try:
        return metadata.version("kerora")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
