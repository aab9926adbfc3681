"""`kerora report`: metrics, confusion matrix, curves and mistakes of one run or several."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from kerora.runs.report import ReportSummary, RunSummary


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN2 ...]", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="HTML file for the comparison of several runs, or for a copy of the page of one run. "
    "[default: in the report folder of the first run]",
)
@click.option("--split", help="Split to report. [default: test if it was evaluated, else validation]")
@click.option("--json", "as_json", is_flag=True, help="Print only the summary, as JSON.")
def command(runs: tuple[Path, ...], output: Path | None, split: str | None, as_json: bool) -> None:
    """Report the quality of a run, and compare several runs of the same task.

    Writes report.html, curves.png and, for a classifier, confusion_matrix.png, confusion_matrix.csv,
    classification_report.txt and errors.csv into the report folder of each RUN. Needs only the files of
    the run.
    """
    from kerora.runfolder import RunFolder
    from kerora.runs.report import write_report

    summary = write_report([RunFolder.open(run) for run in runs], output, split)
    if as_json:
        click.echo(json.dumps(summary.as_dict(), indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    _print(Console(highlight=False, markup=False, emoji=False), summary)


def _print(console: "Console", summary: "ReportSummary") -> None:
    for run in summary.runs:
        _print_run(console, run)
    if summary.comparison is not None:
        from kerora.evaluation.comparison import LanguageComparison
        from kerora.evaluation.terminal import comparison_tables

        console.rule("Comparison", align="left", style="dim")
        for note in summary.comparison.notes() if isinstance(summary.comparison, LanguageComparison) else ():
            console.print(f"Note: {note}", style="yellow")
        for table in comparison_tables(summary.comparison):
            console.print(table)
            console.print()
    click.echo(f"Report: {summary.page}")


def _print_run(console: "Console", run: "RunSummary") -> None:
    from kerora.evaluation import terminal, wording

    results, split = run.results, run.split
    if split is None:
        _print_language_run(console, run)
        return
    title = terminal.visible(f"{results.name}: {split.name}, {len(split):,} rows")
    console.rule(title, align="left", style="dim")
    for note in wording.notes(results, split):
        console.print(f"Note: {terminal.visible(note)}", style="yellow")
    parts = (
        terminal.headline(split),
        terminal.before_after_table(results),
        _training_time(results.manifest.get("training_seconds")),
        terminal.ConfusionMatrix(split),
        terminal.confusions_table(split),
        terminal.class_table(split),
    )
    for part in parts:
        if part is not None:
            console.print(part)
            console.print()


def _print_language_run(console: "Console", run: "RunSummary") -> None:
    from kerora.evaluation import terminal, wording

    results = run.results
    console.rule(terminal.visible(results.name), align="left", style="dim")
    for note in wording.state_notes(results):
        console.print(f"Note: {terminal.visible(note)}", style="yellow")
    changes = terminal.before_after_table(results)
    parts = (
        terminal.language_table(results.after),
        changes,
        _training_time(results.manifest.get("training_seconds")),
        terminal.samples_text(results.samples) if results.samples else None,
    )
    for part in parts:
        if part is not None:
            console.print(part)
            console.print()


def _training_time(seconds: object) -> str | None:
    from kerora.evaluation import wording

    return f"Training took {wording.duration(seconds)}." if wording.number(seconds) is not None else None
