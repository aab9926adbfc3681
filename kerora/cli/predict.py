"""`kerora predict`: labels and probabilities for new text."""

import sys
from pathlib import Path
from typing import Any

import click

from kerora.cli.options import SettingsCommand, collect, import_models, setting_options

COLUMN_SETTINGS = ("data.text", "data.text_join", "data.id", "data.columns", "data.delimiter", "data.skip_bad_rows")


@click.command("predict", cls=SettingsCommand)
@click.argument("run")
@click.argument("input", default="-")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Output file, .csv or .jsonl. Default: standard output.",
)
@setting_options(*COLUMN_SETTINGS)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="Output format. Default: by the extension of the output file, else csv.",
)
@click.option("--submission", is_flag=True, help="Write only the columns id and label.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Number of rows per batch."
)
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
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
    """Predict the class of each text of INPUT with RUN.

    INPUT is a CSV, TSV, JSON, JSON Lines, Parquet or text file (one text per line). The default, -, is
    standard input: one text per line, JSON Lines, or CSV if --delimiter or --columns is given. Rows are
    streamed, so the size of the input does not matter.

    The output has the columns id, label, score and one p_<class> per class.
    """
    import_models(run)
    from kerora.runs.predict import predict_file

    # bytes, so that the reader decodes them and names the place of a fault, as for a file
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
