"""`kerora predict`: labels and probabilities for new text."""

import sys
from pathlib import Path
from typing import Any

import click

from kerora.cli.options import collect, import_models, setting_options

COLUMN_SETTINGS = ("data.text", "data.text_join", "data.id", "data.columns", "data.delimiter", "data.skip_bad_rows")


@click.command("predict")
@click.argument("run")
@click.argument("input", default="-")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write, .csv or .jsonl; empty means standard output.",
)
@setting_options(*COLUMN_SETTINGS)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="Output form; empty means by the output's ending, else csv.",
)
@click.option("--submission", is_flag=True, help="Write the columns id and label only.")
@click.option("--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Rows in a batch.")
@click.option("--preset", help="Where the base model is now, if not where the run found it.")
@click.option("--force", is_flag=True, help="Replace an existing output file.")
def command(
    run: str,
    input: str,
    output: Path | None,
    form: str | None,
    submission: bool,
    batch_size: int,
    preset: str | None,
    force: bool,
    **values: Any,
) -> None:
    """Predict the texts of INPUT with RUN.

    INPUT is a CSV, TSV, JSONL, JSON, Parquet or text file (one text a line), or - for standard
    input: a text a line, JSON Lines, or with --delimiter or --columns CSV. Any size is streamed.
    Writes id, label, score and p_<class> for each class.
    """
    import_models(run)
    from kerora.runs.predict import predict_file

    source: Any = sys.stdin.buffer if input == "-" else Path(input)
    count = predict_file(
        run,
        source,
        output,
        settings=collect(values),
        form=form,
        submission=submission,
        batch_size=batch_size,
        preset=preset,
        force=force,
        stream=sys.stdout,
    )
    if output is not None:
        click.echo(f"{count:,} rows: {output}", err=True)
