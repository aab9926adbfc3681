"""`kerora clean`: find wrong labels, and write a new file without them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerora.cli.options import SettingsCommand, config_options, import_models, resolve_options, setting_options

if TYPE_CHECKING:
    from kerora.cleaning.clean import Cleaned

SETTINGS = ("task", "data.", "model.", "lora.", "training.")
# DATA is the source, all rows are used, and each fold trains all its epochs.
LEFT_OUT = (
    *("data.source", "data.validation_split", "data.test_split", "data.subset", "lora.method"),
    *(f"training.{name}" for name in ("early_stopping", "patience", "monitor", "calibrate", "save_steps", "threshold")),
)


@click.command("clean", cls=SettingsCommand)
@click.argument("data")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Number of folds.")
@click.option("--drop", type=int, metavar="N", help="Write a new file without the N most suspicious rows.")
@click.option(
    "--relabel",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a new file with the labels in the column new_label of FILE, an edited suspicions.csv.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The new file, .csv or .jsonl. Default: cleaned.jsonl in the folder.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of suspicions.csv and report.html. Default: clean/NAME of the data.",
)
@click.option("--force", is_flag=True, help="Replace an earlier result.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@setting_options(*SETTINGS, leave_out=LEFT_OUT)
@config_options
def command(
    data: str,
    folds: int,
    drop: int | None,
    relabel: Path | None,
    output: Path | None,
    folder: Path | None,
    force: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Find labels of DATA that are probably wrong, near-duplicates with other labels, and outliers.

    DATA is a value of `kerora fit --data`. The rows of all its parts are used. Each row is predicted by a model that
    was trained on the other folds. The rows are sorted by suspicion. DATA is never changed: --drop and --relabel write
    a new file. With the same rows and settings, a second call does not train again.
    """
    config = resolve_options({**values, "setting__data__source": data})
    import_models()
    from kerora.cleaning.clean import clean

    def say(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    result = clean(
        config,
        folder,
        folds=folds,
        drop=drop,
        relabel=relabel,
        output=output,
        force=force,
        say=say,
    )
    _print(result)


def _print(result: "Cleaned") -> None:
    from rich.console import Console

    from kerora.evaluation.terminal import say

    console = Console()
    if result.folder is not None:
        say(console, f"{result.rows:,} rows: {result.wrong:,} labels are probably wrong, {result.twins:,} rows have a "
            f"near-duplicate with another label, {result.outliers:,} are outliers")  # fmt: skip
        say(console, f"Table: {result.folder / 'suspicions.csv'}\nReport: {result.folder / 'report.html'}")
    if result.output is not None:
        changes = f", {result.changed:,} labels changed" if result.changed else ""
        say(console, f"New file: {result.output}, {result.written:,} of {result.rows:,} rows{changes}")
        say(console, f"Next: kerora fit --data {result.output}")
