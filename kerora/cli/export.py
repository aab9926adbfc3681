"""`kerora export`: write a run for another tool."""

from pathlib import Path

import click

from kerora.cli.options import import_models


@click.command("export")
@click.argument("run")
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["peft", "keras", "transformers", "onnx", "kerora"]),
    help="peft: the adapter; keras, transformers, onnx: the merged model; kerora: the run without checkpoints.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write; must not exist.")
@click.option("--preset", help="Where the base model is now, if not where the run found it.")
def command(run: str, form: str, output: Path, preset: str | None) -> None:
    """Write RUN for another tool, with a model card.

    The export is loaded afresh by that tool where it is installed, and compared with the run on 32 real
    rows; where it differs, it is an error and nothing is left behind.
    """
    import_models(run)
    from kerora.exchange.export import export_run

    click.echo(str(export_run(run, form, output, preset)))
    click.echo(f"Written: {output}")
