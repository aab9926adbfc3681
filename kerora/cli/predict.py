"""`kerora predict`: labels and probabilities for new text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerora.cli.options import SettingsCommand, abstain_options, collect, import_models, setting_options
from kerora.cli.streams import data_input, data_output
from kerora.errors import ConfigError

if TYPE_CHECKING:
    from kerora.data.bad_rows import BadRows

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
@click.option(
    "--most-useful",
    type=click.IntRange(min=1),
    metavar="N",
    help="Write the N rows whose labels would help the run most, with its guesses, for people to label.",
)
@click.option(
    "--strategy",
    type=click.Choice(["margin", "random"]),
    help="With --most-useful: 'margin' takes rows whose two most probable classes are close, spread over different "
    "texts; 'random' is a control. Default: margin.",
)
@click.option(
    "--annotations",
    type=click.Choice(["label-studio", "doccano", "prodigy"]),
    help="With --most-useful: tool that imports the file. Default: none, a table with an empty label column.",
)
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
    most_useful: int | None,
    strategy: str | None,
    annotations: str | None,
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

    With --most-useful N, the output has N rows to label. `kerora fit --train old.csv,new.jsonl` takes the labelled
    rows, or the export of the tool, beside the old ones.
    """
    withheld = submission or fill or form or abstain_below is not None or target_accuracy is not None
    _check(most_useful, output, bool(withheld), "--strategy" if strategy else "--annotations" if annotations else "")
    # bytes, so that the reader decodes them and names the place of a fault, as for a file
    source: Any = data_input() if input == "-" else Path(input)
    # Before the import of Keras: a closed standard output is an error that needs no wait.
    stream = data_output() if output is None else None
    import_models(run)
    from kerora.data.bad_rows import BadRows
    from kerora.runs.predict import predict_file
    from kerora.runs.useful import Request
    from kerora.runs.useful import most_useful as find_most_useful
    from kerora.tasks.abstention import Abstention

    skipped = BadRows()
    options: dict[str, Any] = {"settings": collect(values), "batch_size": batch_size, "preset": preset, "force": force}
    if most_useful is not None and output is not None:
        request = Request(most_useful, strategy or "margin", annotations)
        count = find_most_useful(run, source, output, request, skipped=skipped, **options)
    else:
        abstain = Abstention(abstain_below, target_accuracy)
        more: dict[str, Any] = {"form": form, "submission": submission, "fill": fill, "stream": stream}
        count = predict_file(run, source, output, abstain=abstain, skipped=skipped, **more, **options)
    _tell(count, skipped, fill, output, most_useful is not None)


def _check(most_useful: int | None, output: Path | None, withheld: bool, option: str) -> None:
    if most_useful is None and option:
        raise ConfigError(f"{option} is for --most-useful N. Add it.")
    if most_useful is not None and (withheld or output is None):
        raise ConfigError("--most-useful writes rows to label. Give --output, and leave the other outputs out.")


def _tell(count: int, skipped: "BadRows", fill: str | None, output: Path | None, to_label: bool) -> None:
    from kerora.data.bad_rows import by_reason

    if skipped.count:
        what = f"Filled with {fill}" if fill is not None else "Skipped"
        # With --fill the skipped rows are written too, so `count` holds them already.
        total = count + (0 if fill is not None else skipped.count)
        rows = f"{skipped.count:,}" if to_label else f"{skipped.count:,} of {total:,}"
        click.echo(f"{what}: {rows} rows ({by_reason(skipped.reasons)})", err=True)
    if output is not None:
        click.echo(f"{count:,} rows{' to label' if to_label else ''}: {output}", err=True)
