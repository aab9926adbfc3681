"""`kerora report`: metrics, confusion matrix, curves and mistakes of one run or several."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

# At run time these would be imported for every `kerora report --help`.
if TYPE_CHECKING:
    from rich.console import Console

    from kerora.runs.report import ReportSummary


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

    Writes report.html, curves.png and, for a classifier, confusion_matrix.png, confusion_matrix.csv, coverage.png,
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
    from kerora.evaluation.terminal import visible

    screen = summary.task.screen
    for run in summary.runs:
        console.rule(visible(screen.title(run.results, run.split)), align="left", style="dim")
        for note in screen.notes(run.results, run.split):
            console.print(f"Note: {visible(note)}", style="yellow")
        for part in screen.report(run.results, run.split):
            if part is not None:
                console.print(part)
                console.print()
    if summary.comparison is not None:
        notes, tables = screen.comparison(summary.comparison)
        console.rule("Comparison", align="left", style="dim")
        for note in notes:
            console.print(f"Note: {note}", style="yellow")
        for table in tables:
            console.print(table)
            console.print()
    click.echo(f"Report: {summary.page}")
