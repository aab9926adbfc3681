"""The output of `kerora data show` for rows with several labels."""

import dataclasses
import json
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from kerora.data.audit import Audit
from kerora.data.concerns import concerns
from kerora.data.rows import Dataset, Rows, indicators
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
from kerora.settings.fit import ModelConfig
from kerora.tasks.whole_text.audit import measured

Tagged = Dataset[Rows[tuple[int, ...]]]
MOST_PAIRS = 10
"""Pairs of labels that are shown."""


def show_audit(dataset: Tagged, preset: str | None, config: ModelConfig, rows: int, as_json: bool) -> None:
    """Print the audit of rows with labels.

    Args:
        dataset: the rows.
        preset: model whose tokenizer measures the lengths. None counts words.
        config: the longest row, and how longer texts are read.
        rows: number of first rows to show.
        as_json: whether to print JSON.
    """
    result = measured(dataset, preset, config)
    if as_json:
        click.echo(json.dumps(_content(dataset, result, rows), indent=2, ensure_ascii=False))
    else:
        _print_tables(dataset, result, rows)


def _content(dataset: Tagged, result: Audit, rows: int) -> dict[str, Any]:
    return {
        **dataclasses.asdict(result),
        "classes": dataset.classes,
        "labels_per_row": {split: label_counts(part) for split, part in dataset},
        "together": [
            {"labels": [dataset.classes[first], dataset.classes[second]], "rows": count}
            for first, second, count in pairs_together(dataset)
        ],
        "skipped": dataset.skipped,
        "reasons": dataset.reasons,
        "concerns": concerns(result, dataset.classes),
        "first_rows": first_rows(dataset, rows),
    }


def label_counts(rows: Rows[tuple[int, ...]]) -> dict[str, Any]:
    """Return how many labels the rows have: rows without labels, the mean, and the most."""
    counts = [len(target) for target in rows.targets or ()]
    mean = float(np.mean(counts)) if counts else 0.0
    return {"without": sum(count == 0 for count in counts), "mean": mean, "most": max(counts, default=0)}


def pairs_together(dataset: Tagged) -> list[tuple[int, int, int]]:
    """Return the pairs of labels that most training rows have together: two class numbers, and the rows."""
    # float32: the product of integer matrices is slow, and counts up to 16 million are exact
    found = indicators(dataset["train"].targets or [], len(dataset.classes)).astype(np.float32)
    together = np.triu(found.T @ found, k=1)
    places = np.argsort(-together, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = zip(*np.unravel_index(places, together.shape), strict=True)
    return [(int(a), int(b), int(together[a, b])) for a, b in pairs if together[a, b]]


def first_rows(dataset: Tagged, count: int) -> list[dict[str, Any]]:
    """Return the first training rows with the names of their labels."""
    train = dataset.splits["train"]
    return list(train.take(range(min(count, len(train)))).objects(dataset.classes))


def _print_tables(dataset: Tagged, result: Audit, rows: int) -> None:
    console = Console(highlight=False)
    print_heading(console, dataset, f"{len(dataset.classes)} labels, any number of them in a row")
    tables = [
        shares_table("Rows with each label", "label", "all rows", result, dataset.classes),
        _count_table(dataset),
        _pair_table(dataset),
    ]
    print_tables(console, (*filter(None, tables), length_table(result), duplicate_table(result)))
    print_unit(console, result)
    print_leaks(console, result)
    print_concerns(console, concerns(result, dataset.classes))
    if rows:
        console.print()
        console.print(_row_table(dataset, rows))


def _count_table(dataset: Tagged) -> Table:
    table = plain_table("split", "rows without labels", "labels a row", "most", title="Labels of a row")
    for split, part in dataset:
        found = label_counts(part)
        table.add_row(split, str(found["without"]), f"{found['mean']:.2f}", str(found["most"]))
    return table


def _pair_table(dataset: Tagged) -> Table | None:
    pairs = pairs_together(dataset)
    if not pairs:
        return None
    table = plain_table("label", "and label", "training rows", title="Labels that occur together")
    table.columns[1].justify = "left"
    for first, second, count in pairs:
        table.add_row(escaped(dataset.classes[first]), escaped(dataset.classes[second]), str(count))
    return table


def _row_table(dataset: Tagged, count: int) -> Table:
    table = plain_table("id", "labels", "text", title="First training rows", justify="left")
    for row in first_rows(dataset, count):
        text = " / ".join(short(row[key]) for key in ("text", "pair") if key in row)
        table.add_row(escaped(row["id"]), escaped(", ".join(row["label"]) or "-"), escaped(text))
    return table
