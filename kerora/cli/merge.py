"""`kerora merge`: fold adapters into the weights."""

from pathlib import Path

import click

from kerora.cli.options import import_models
from kerora.errors import ConfigError


@click.command("merge")
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN2 ...]")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write; must not exist.")
@click.option("--weights", help="A number for each run, separated by commas; empty gives each the same share of 1.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["keras", "transformers", "onnx"]),
    default="keras",
    show_default=True,
    help="Format of the merged model.",
)
@click.option("--preset", help="Where the base model is now, if not where the runs found it.")
def command(runs: tuple[str, ...], output: Path, weights: str | None, form: str, preset: str | None) -> None:
    """Fold the adapter of RUN into the weights: the same answers at the base's cost.

    Several runs of one base, with the same classes or all of language models, are merged as a weighted
    sum. The result is loaded afresh and compared on 32 rows; nothing is left behind where it differs.
    """
    import_models(*runs)
    from kerora.exchange.export import merge_runs

    click.echo(str(merge_runs(runs, output, form, _numbers(weights), preset)))
    click.echo(f"Written: {output}")


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weights must be numbers separated by commas. Received: {text!r}") from None
