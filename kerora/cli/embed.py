"""`kerora embed`: one vector for each text."""

from pathlib import Path
from typing import Any

import click

from kerora.cli.options import SettingsCommand, collect, import_models, setting_options
from kerora.cli.predict import INPUT_SETTINGS
from kerora.cli.streams import data_input


@click.command("embed", cls=SettingsCommand)
@click.argument("model")
@click.argument("input", default="-")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Output file, .npy or .parquet.")
@setting_options(*INPUT_SETTINGS)
@click.option(
    "--max-length",
    type=click.IntRange(min=8),
    help="Longest window in tokens. Default: that of the run; for a preset 256.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=64, show_default=True, help="Number of rows per batch."
)
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
@click.option("--force", is_flag=True, help="Replace an existing output file.")
def command(
    model: str,
    input: str,
    output: Path,
    max_length: int | None,
    batch_size: int,
    preset: str | None,
    force: bool,
    **values: Any,
) -> None:
    """Write one vector for each text of INPUT: the mean of the states of MODEL over the tokens of the text.

    MODEL is a run, whose adapter is applied, or a preset. INPUT is read as by `kerora predict`. A text that is longer
    than --max-length is divided into windows, and its vector is the mean of theirs, weighted by tokens.

    The rows have the order of INPUT. A .npy file holds the vectors alone, float32 (rows, width). A .parquet file has
    the columns id and embedding.
    """
    source: Any = data_input() if input == "-" else Path(input)
    import_models()
    from kerora.data.bad_rows import BadRows, by_reason
    from kerora.runs.embed import embed_file

    skipped = BadRows()
    count = embed_file(
        model,
        source,
        output,
        settings=collect(values),
        batch_size=batch_size,
        max_length=max_length,
        preset=preset,
        force=force,
        skipped=skipped,
    )
    if skipped.count:
        click.echo(f"Skipped: {skipped.count:,} rows ({by_reason(skipped.reasons)})", err=True)
    click.echo(f"{count:,} rows: {output}", err=True)
