"""`kerora augment`: new labelled rows from the training rows."""

import csv
import json
from pathlib import Path
from typing import Any

import click

from kerora.cli.options import SettingsCommand, config_options, resolve_options, setting_options
from kerora.errors import ConfigError
from kerora.places import check_output

# As in kerora.data.new_rows, whose import would slow down the help.
METHODS = ("aeda", "swap", "cutoff")
ENDINGS = (".csv", ".jsonl")


@click.command("augment", cls=SettingsCommand)
@click.argument("data")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="New file, .csv or .jsonl.")
@click.option("--budget", type=click.IntRange(min=1), required=True, help="Number of new rows for each class.")
@click.option(
    "--method",
    "methods",
    type=click.Choice(METHODS),
    multiple=True,
    help="aeda inserts punctuation, swap lets words change places, cutoff removes a stretch of words. Can be repeated: "
    "the methods then take turns. Default: aeda.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@setting_options("task", "data.", "training.seed", leave_out=("data.source",))
@config_options
def command(data: str, output: Path, budget: int, methods: tuple[str, ...], force: bool, **values: Any) -> None:
    """Write new rows that are made from the training rows of DATA.

    DATA is a value of `kerora fit --data`. Validation and test rows are never used, and a new row that equals one of
    them is left out. The column origin has the id of the row that a new row was made from. `kerora fit --train
    old.csv,new.jsonl` takes both files.
    """
    if output.suffix.lower() not in ENDINGS:
        raise ConfigError(f"The output must end in {' or '.join(ENDINGS)}. Received: {output}")
    check_output(output, force)
    from kerora.data.labelled import LabelledReader
    from kerora.data.new_rows import check_parts, make_rows
    from kerora.tasks.found import with_task
    from kerora.tasks.registry import task_named

    config = with_task(resolve_options({**values, "setting__data__source": data}))
    check_parts(config.data, LabelledReader())
    made = make_rows(task_named(config.task).rows.load(config), budget, methods or ("aeda",), config.training.seed)
    _write(output, made.rows)
    if made.short:
        click.echo(f"{made.short:,} training rows have fewer than two words and are not changed", err=True)
    if made.repeated or made.leaked:
        click.echo(
            f"Left out: {made.repeated:,} repeated texts, {made.leaked:,} texts of validation or test rows", err=True
        )
    few = [f"{name} {count:,}" for name, count in made.counts.items() if count < budget]
    if few:
        click.echo(
            f"Fewer than --budget {budget}, because the texts are too short or too few: {', '.join(few)}", err=True
        )
    click.echo(f"{len(made.rows):,} new rows: {output}", err=True)


def _write(output: Path, rows: list[dict[str, Any]]) -> None:
    from kerora.runfolder import atomic_file

    with atomic_file(output) as stream:
        if output.suffix.lower() == ".csv":
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
