"""`kerora import`: make a run from an adapter that PEFT saved."""

import sys
from typing import Any

import click

from kerora.cli.options import SettingsCommand, collect, import_models, setting_options
from kerora.settings.resolve import resolve


@click.command("import", cls=SettingsCommand)
@click.option(
    "--peft",
    "directory",
    required=True,
    help="Adapter folder that PEFT saved, or hf://organisation/name[@revision] of the Hugging Face hub.",
)
@click.option("--output", required=True, help="Output run folder. It must not exist.")
# The settings that are left out change only a training, and an imported adapter is already trained.
@setting_options(
    "task", "model.", "data.", "language.", leave_out=("model.head_dropout", "model.quantize", "language.pack")
)
def command(directory: str, output: str, **values: Any) -> None:
    """Make a run folder from a PEFT adapter of a classifier or a language model.

    With --data or files the run is also evaluated, so that `kerora report` works. An adapter with features
    that Kerora does not have is refused, and the error names them.
    """
    import_models()
    from kerora.exchange.importing import import_peft
    from kerora.runs.open import read_config
    from kerora.tasks.registry import task_named

    given = collect(values)
    # Not by the default source: the bundled data has nothing to do with the adapter.
    evaluate = any(given.get(f"data.{name}") for name in ("source", "train", "validation", "test"))
    run = import_peft(directory, output, resolve(given), evaluate=evaluate, argv=sys.argv[1:])
    click.echo(f"Run: {run.path}")
    first_use = task_named(read_config(run).task).first_use.format(run=run.path)
    click.echo(f"Next: kerora {f'report {run.path}' if evaluate else first_use}")
