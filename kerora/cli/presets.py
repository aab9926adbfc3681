"""`kerora presets`: list the pre-trained models."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kerora.models.catalogue import PresetInfo

TITLES = ("name", "kind", "parameters", "source")
# fewer columns than these say nothing of a description
SHORTEST_DESCRIPTION = 12
PIPE_WIDTH = 200


@click.command("presets")
@click.argument("contains", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def command(contains: str, as_json: bool) -> None:
    """List the pre-trained models that --preset accepts by name. Those that work offline come first.

    With CONTAINS, only presets with this text in their name, kind, source or description are listed.
    --preset also accepts local Keras presets, Hugging Face folders, hf:// and kaggle:// names. These are not
    listed.
    """
    from kerora.models.catalogue import list_presets

    wanted = contains.lower()
    # All facts of a preset are searched, so "roberta", "cached" and "multilingual" find something.
    found = [info for info in list_presets() if wanted in " ".join(map(str, info.to_dict().values())).lower()]
    if as_json:
        click.echo(json.dumps([info.to_dict() for info in found], ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    # Without a terminal rich takes 80 columns, which cut the names of presets for grep.
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, markup=False, highlight=False, emoji=False)
    rows = [_cells(info) for info in found]
    widths = [max((len(row[number]) for row in rows), default=0) + 2 for number in range(len(TITLES))]
    if sum(widths) + SHORTEST_DESCRIPTION <= console.width:
        console.print(_table(rows, found))
    else:
        _print_one_by_one(console, rows, found)
    click.echo(f"{len(found)} presets" + (f" with {contains!r}" if contains else ""))


def _cells(info: "PresetInfo") -> tuple[str, ...]:
    return info.name, info.kind, "?" if info.parameters is None else f"{info.parameters:,}", info.source


def _table(rows: Sequence[Sequence[str]], found: Sequence["PresetInfo"]) -> "Table":
    from rich.table import Table

    table = Table(box=None, expand=True)
    for number, title in enumerate(TITLES):
        # Names must not be cut, because they are copied. Only the description may end in an ellipsis.
        width = max((len(row[number]) for row in rows), default=0)
        table.add_column(title, no_wrap=True, min_width=width, justify="right" if title == "parameters" else "left")
    table.add_column("description", no_wrap=True, overflow="ellipsis", ratio=1)
    for row, info in zip(rows, found, strict=True):
        table.add_row(*row, info.description)
    return table


def _print_one_by_one(console: "Console", rows: Sequence[Sequence[str]], found: Sequence["PresetInfo"]) -> None:
    """Print the presets of a narrow terminal one below another. A name stays on one line, because it is copied."""
    from kerora.evaluation.terminal import Facts, say

    for (name, kind, parameters, source), info in zip(rows, found, strict=True):
        console.print(name, style="bold", soft_wrap=True)
        console.print(Facts([f"  {kind}", f"{parameters} parameters", source], indent="  "))
        say(console, f"  {info.description}")
