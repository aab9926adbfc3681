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
    help="peft: the adapter. keras, transformers, onnx: the merged model. kerora: the run without checkpoints.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Output folder. It must not exist.")
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
def command(run: str, form: str, output: Path, preset: str | None) -> None:
    """Write RUN in the format of another tool, with a model card.

    If that tool is installed, it loads the export, and its outputs are compared with those of the run on 32
    real rows. A difference is an error, and the export is removed.
    """
    import_models(run)
    from kerora.exchange.export import export_run

    click.echo(str(export_run(run, form, output, preset)))
    click.echo(f"Written: {output}")
