"""The output of `kerora data show` for labelled rows."""

import dataclasses
import json

import click
from rich.console import Console
from rich.table import Table

from kerora.data.audit import Audit
from kerora.data.bad_rows import by_reason
from kerora.data.concerns import concerns
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset
from kerora.evaluation.audit_tables import (
    duplicate_table,
    escaped,
    length_table,
    percent,
    print_concerns,
    short,
)
from kerora.evaluation.terminal import plain_table
from kerora.settings.fit import FitConfig
from kerora.tasks.whole_text.audit import measured_audit


def show(config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
    """Print the audit of labelled rows.

    Args:
        config: the settings of the data, and the maximum length of a row.
        preset: model whose tokenizer measures the lengths. None counts words.
        rows: number of first rows to show.
        as_json: whether to print JSON.
    """
    dataset = load_dataset(config.data, config.training.seed)
    result = measured_audit(dataset, preset, config.model.max_length)
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
    console.print(f"[bold]{escaped(dataset.name)}[/bold]: {len(dataset.classes)} classes")
    for split, count in dataset.skipped.items():
        console.print(f"{split}: {count} bad rows were dropped ({escaped(by_reason(dataset.reasons.get(split, {})))})")
    for table in (_label_table(dataset, result), length_table(result), duplicate_table(result)):
        console.print()
        console.print(table)
    if result.unit == "words":
        console.print(
            "Lengths are in words. --preset NAME counts the tokens of that model. A text has more tokens than words."
        )
    for split, leak in result.leakage.items():
        for here, there, text in leak.examples:
            console.print(
                f"{split} row {escaped(here)} = train row {escaped(there)}: {escaped(short(text))}", soft_wrap=True
            )
    print_concerns(console, concerns(result, dataset.classes))
    if rows:
        console.print()
        console.print(_row_table(dataset, rows))


def _label_table(dataset: Dataset, result: Audit) -> Table:
    table = plain_table("class", *result.splits, title="Labels")
    for name in dataset.classes:
        counts = [(split.labels[name], split.rows) for split in result.splits.values()]
        # a split may have no rows
        table.add_row(escaped(name), *(f"{count} ({percent(count / max(1, total))})" for count, total in counts))
    table.add_row("all", *(str(split.rows) for split in result.splits.values()), style="bold")
    return table


def _row_table(dataset: Dataset, count: int) -> Table:
    table = plain_table("id", "label", "text", title="First training rows", justify="left")
    for row in _first_rows(dataset, count):
        text = " / ".join(short(row[key]) for key in ("text", "pair") if key in row)
        table.add_row(escaped(row["id"]), escaped(row["label"]), escaped(text))
    return table
