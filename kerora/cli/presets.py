"""`kerora presets`: list the pre-trained models."""

import json
import sys

import click


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
    from rich.table import Table

    rows = [
        (info.name, info.kind, "?" if info.parameters is None else f"{info.parameters:,}", info.source)
        for info in found
    ]
    table = Table(box=None, expand=True)
    for number, title in enumerate(("name", "kind", "parameters", "source")):
        # Names must not be cut, because they are copied. Only the description may end in an ellipsis.
        width = max((len(row[number]) for row in rows), default=0)
        table.add_column(title, no_wrap=True, min_width=width, justify="right" if title == "parameters" else "left")
    table.add_column("description", no_wrap=True, overflow="ellipsis", ratio=1)
    for row, info in zip(rows, found, strict=True):
        table.add_row(*row, info.description)
    # Without a terminal rich takes 80 columns, which cut the names of presets for grep.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    click.echo(f"{len(found)} presets" + (f" with {contains!r}" if contains else ""))
