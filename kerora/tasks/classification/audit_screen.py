"""The output of `kerora data show` for labelled rows."""

import dataclasses
import json

import click
from rich.console import Console
from rich.table import Table

from kerora.data.audit import Audit
from kerora.data.concerns import concerns
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset
from kerora.evaluation.audit_tables import (
    duplicate_table,
    escaped,
    length_table,
    print_concerns,
    print_heading,
    print_leaks,
    print_tables,
    print_unit,
    shares_table,
    short,
)
from kerora.evaluation.terminal import plain_table
from kerora.settings.fit import FitConfig
from kerora.tasks.whole_text.audit import measured


def show(config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
    """Print the audit of labelled rows.

    Args:
        config: the settings of the data, the maximum length of a row, and how longer texts are read.
        preset: model whose tokenizer measures the lengths. None counts words.
        rows: number of first rows to show.
        as_json: whether to print JSON.
    """
    dataset = load_dataset(config.data, config.training.seed)
    result = measured(dataset, preset, config.model)
    if as_json:
        _print_json(dataset, result, rows)
    else:
        _print_tables(dataset, result, rows)


def _print_json(dataset: Dataset, result: Audit, rows: int) -> None:
    content = {
        **dataclasses.asdict(result),
        "classes": dataset.classes,
        "skipped": dataset.skipped,
        "reasons": dataset.reasons,
        "concerns": concerns(result, dataset.classes),
    }
    content["first_rows"] = _first_rows(dataset, rows)
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _first_rows(dataset: Dataset, count: int) -> list[dict[str, str]]:
    train = dataset.splits["train"]
    first = train.take(range(min(count, len(train))))
    labels = [dataset.classes[number] for number in first.targets or ()]
    rows = [
        dict(zip(("id", "label", "text"), row, strict=True)) for row in zip(first.ids, labels, first.texts, strict=True)
    ]
    return [{**row, "pair": pair} for row, pair in zip(rows, first.pairs, strict=True)] if first.pairs else rows


def _print_tables(dataset: Dataset, result: Audit, rows: int) -> None:
    console = Console(highlight=False)
    print_heading(console, dataset, f"{len(dataset.classes)} classes")
    print_tables(
        console,
        (
            shares_table("Labels", "class", "all", result, dataset.classes),
            length_table(result),
            duplicate_table(result),
        ),
    )
    print_unit(console, result)
    print_leaks(console, result)
    print_concerns(console, concerns(result, dataset.classes))
    if rows:
        console.print()
        console.print(_row_table(dataset, rows))


def _row_table(dataset: Dataset, count: int) -> Table:
    table = plain_table("id", "label", "text", title="First training rows", justify="left")
    for row in _first_rows(dataset, count):
        text = " / ".join(short(row[key]) for key in ("text", "pair") if key in row)
        table.add_row(escaped(row["id"]), escaped(row["label"]), escaped(text))
    return table
