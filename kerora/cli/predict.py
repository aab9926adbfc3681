"""`kerora predict`: labels and probabilities for new text."""

from pathlib import Path
from typing import Any

import click

from kerora.cli.options import SettingsCommand, abstain_options, collect, import_models, setting_options
from kerora.cli.streams import data_input, data_output

INPUT_SETTINGS = (
    *("data.text", "data.text_join", "data.id", "data.columns", "data.delimiter", "data.format", "data.encoding"),
    *("data.skip_bad_rows", "data.bad_rows"),
)


@click.command("predict", cls=SettingsCommand)
@click.argument("run")
@click.argument("input", default="-")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Output file, .csv or .jsonl. Default: standard output.",
)
@setting_options(*INPUT_SETTINGS)
@click.option(
    "--output-format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="Output format. Default: by the extension of the output file, else csv.",
)
@click.option("--submission", is_flag=True, help="Write only the columns id and label, and a line for every row.")
@click.option("--fill", metavar="LABEL", help="With --submission: label of the rows without a text.")
@abstain_options
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
    fill: str | None,
    abstain_below: float | None,
    target_accuracy: float | None,
    batch_size: int,
    preset: str | None,
    force: bool,
    **values: Any,
) -> None:
    """Predict the class of each text of INPUT with RUN.

    INPUT is a CSV, TSV, JSON, JSON Lines, Parquet, Arrow or text file (one text per line). The default, -, is
    standard input in one of these formats. Name CSV and TSV there with --format. Rows are streamed, so the size
    of the input does not matter.

    The output has the columns id, label, score and one p_<class> per class. With --abstain-below or --target-accuracy,
    the label of a row with a lower score is empty.
    """
    # bytes, so that the reader decodes them and names the place of a fault, as for a file
    source: Any = data_input() if input == "-" else Path(input)
    # Before the import of Keras: a closed standard output is an error that needs no wait.
    stream = data_output() if output is None else None
    import_models(run)
    from kerora.data.bad_rows import BadRows, by_reason
    from kerora.runs.predict import predict_file
    from kerora.tasks.abstention import Abstention

    skipped = BadRows()
    count = predict_file(
        run,
        source,
        output,
        settings=collect(values),
        form=form,
        submission=submission,
        fill=fill,
        batch_size=batch_size,
        preset=preset,
        force=force,
        stream=stream,
        skipped=skipped,
        abstain=Abstention(abstain_below, target_accuracy),
    )
    if skipped.count:
        what = f"Filled with {fill}" if fill is not None else "Skipped"
        # With --fill the skipped rows are written too, so `count` holds them already.
        total = count + (0 if fill is not None else skipped.count)
        click.echo(f"{what}: {skipped.count:,} of {total:,} rows ({by_reason(skipped.reasons)})", err=True)
    if output is not None:
        click.echo(f"{count:,} rows: {output}", err=True)
