"""`kerora data`: inspect a data set, or save it after processing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerora.cli.options import SettingsCommand, config_options, resolve_options, setting_options

if TYPE_CHECKING:
    from kerora.settings.fit import FitConfig


# The seed decides which rows a split and a subset hold. The other settings of a training change no row.
DATA = ("data.", "language.prompt", "language.completion", "language.turns", "language.roles", "training.seed")
LENGTH = ("model.max_length", "model.long", "model.stride")
# SPEC is the source.
LEFT_OUT = ("data.source",)


@click.group("data")
def command() -> None:
    """Inspect or save a data set.

    SPEC is a value of `kerora fit --data`: tickets, a TFDS name, a file or a folder.
    """


@command.command(cls=SettingsCommand)
@click.argument("spec", required=False)
@setting_options("task", *DATA, *LENGTH, leave_out=LEFT_OUT)
@click.option("--preset", help="Measure lengths with the tokenizer of this model. Default: lengths are in words.")
@click.option("--rows", type=click.IntRange(min=0), default=5, show_default=True, help="Number of rows to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_options
def show(spec: str | None, preset: str | None, rows: int, as_json: bool, **values: Any) -> None:
    """Print counts, label balance, lengths, truncation, duplicates, leakage and the first rows.

    With --task causal-lm, SPEC holds texts, prompts with completions, or conversations.
    """
    from kerora.tasks.found import with_task
    from kerora.tasks.registry import task_named

    config = with_task(_config(spec, values))
    task_named(config.task).rows.show(config, preset, rows, as_json)


@command.command(cls=SettingsCommand)
@click.argument("spec")
@click.argument("directory", type=click.Path(path_type=Path))
@setting_options("task", *DATA, leave_out=LEFT_OUT)
@click.option("--force", is_flag=True, help="Replace a data set that was saved in DIRECTORY.")
@config_options
def save(spec: str, directory: Path, force: bool, **values: Any) -> None:
    """Write SPEC to DIRECTORY after processing (split, subset, class names). `--data DIRECTORY` reads it again."""
    from kerora.data.save import save_dataset
    from kerora.tasks.found import with_task
    from kerora.tasks.registry import task_named

    config = with_task(_config(spec, values))
    rows = task_named(config.task).rows
    dataset = rows.load(config)
    save_dataset(dataset, directory, force)
    click.echo(f"Saved {dataset.name} to {directory}: {rows.counts(dataset)}.")


def _config(spec: str | None, values: dict[str, Any]) -> FitConfig:
    if spec is not None:
        # As an option, so that SPEC takes precedence over the source of a --config file.
        values = {**values, "setting__data__source": spec}
    return resolve_options(values)
