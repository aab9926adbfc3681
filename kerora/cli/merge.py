"""`kerora merge`: merge adapters into the weights."""

from pathlib import Path

import click

from kerora.cli.options import import_models
from kerora.errors import ConfigError


@click.command("merge")
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN2 ...]")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Output folder. It must not exist.")
@click.option("--weights", help="One number per run, separated by commas. Default: equal weights with sum 1.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["keras", "transformers", "onnx"]),
    default="keras",
    show_default=True,
    help="Format of the merged model.",
)
@click.option("--preset", help="Path or name of the base model, if it moved since the runs were made.")
def command(runs: tuple[str, ...], output: Path, weights: str | None, form: str, preset: str | None) -> None:
    """Merge the adapter of RUN into the weights of the base model.

    The merged model gives the same outputs as the run and is as fast as the base model. Several runs are
    merged as a weighted sum. They need the same base model, and the same classes or all be language models.
    The result is loaded and compared with the runs on 32 rows. A difference is an error, and the output is
    removed.
    """
    # All folders are checked first, so that a wrong last one costs no time.
    import_models(*runs)
    from kerora.exchange.export import merge_runs

    click.echo(str(merge_runs(runs, output, form, _numbers(weights), preset)))
    click.echo(f"Written: {output}")


def _numbers(text: str | None) -> list[float] | None:
    try:
        # None and not 1.0 for each: the function knows the number of runs and gives equal weights.
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--weights must be numbers separated by commas. Received: {text!r}") from None
