"""`kerora import`: make a run of an adapter that PEFT saved."""

import sys
from pathlib import Path
from typing import Any

import click

from kerora.cli.options import collect, import_models, setting_options
from kerora.settings.resolve import resolve


@click.command("import")
@click.option("--peft", "directory", required=True, type=click.Path(path_type=Path), help="Folder that PEFT saved.")
@click.option("--output", required=True, help="Run folder to make; must not exist.")
@setting_options("model.", "data.", "language.", leave_out=("model.head_dropout", "model.quantize", "language.pack"))
def command(directory: Path, output: str, **values: Any) -> None:
    """Make a run folder of an adapter that PEFT trained, a classifier's or a language model's.

    With --data or files it is evaluated on them, so that `kerora report` has something to show.
    What cannot be carried over is refused by name.
    """
    import_models()
    from kerora.exchange.importing import import_peft

    given = collect(values)
    evaluate = any(given.get(f"data.{name}") for name in ("source", "train", "validation", "test"))
    run = import_peft(directory, output, resolve(given), evaluate=evaluate, argv=sys.argv[1:])
    click.echo(f"Run: {run.path}")
    use = f"predict {run.path} FILE" if run.labels.is_file() else f'generate {run.path} --prompt "..."'
    click.echo(f"Next: kerora {f'report {run.path}' if evaluate else use}")
