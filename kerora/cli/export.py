"""`kerora export`: write a run for another tool."""

from pathlib import Path

import click

from kerora.cli.options import import_models
from kerora.errors import ConfigError


@click.command("export")
@click.argument("run", required=False)
@click.option(
    "--base",
    help="A pre-trained model in place of RUN: a value of `kerora fit --preset`. It is written with --format "
    "transformers, as the base of an adapter in PEFT's format.",
)
@click.option(
    "--format",
    "form",
    required=True,
    type=click.Choice(["peft", "keras", "transformers", "onnx", "kerora"]),
    help="peft: the adapter. keras, transformers, onnx: the merged model. kerora: the run without checkpoints.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Output folder. It must not exist.")
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
def command(run: str | None, base: str | None, form: str, output: Path, preset: str | None) -> None:
    """Write RUN, or the base model of --base, in the format of another tool. A run gets a model card.

    If that tool is installed, it loads the export, and its outputs are compared with those of the run on 32
    real rows. A difference is an error, and the export is removed.
    """
    if base is not None:
        # A base model alone has no head and no adapter, which the other formats write.
        if run is not None or preset is not None or form != "transformers":
            raise ConfigError("--base is written without a run: kerora export --base NAME --format transformers.")
        import_models()
        from kerora.exchange.base import export_base

        click.echo(export_base(base, output))
        click.echo(f"Written: {output}")
        return
    if run is None:
        raise ConfigError("Name a run, or a pre-trained model with --base.")
    import_models(run)
    from kerora.exchange.export import export_run

    click.echo(str(export_run(run, form, output, preset)))
    click.echo(f"Written: {output}")
