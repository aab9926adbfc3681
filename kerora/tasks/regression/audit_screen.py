"""The output of `kerora data show` for texts with numbers."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from kerora.data.audit import Audit
from kerora.data.concerns import concerns
from kerora.data.numbers import NumberReader, NumberRows
from kerora.data.rows import Dataset
from kerora.data.sources import load_splits
from kerora.evaluation.audit_tables import (
    duplicate_table,
    escaped,
    length_table,
    print_concerns,
    print_heading,
    print_unit,
    short,
)
from kerora.evaluation.terminal import plain_table
from kerora.settings.fit import FitConfig
from kerora.tasks.whole_text.audit import measured

BINS = 20
BARS = " ▁▂▃▄▅▆▇█"


def show(config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
    """Print the audit of texts with numbers.

    Args:
        config: the settings of the data, and the maximum length of a row.
        preset: model whose tokenizer measures the lengths. None counts words.
        rows: number of first rows to show.
        as_json: whether to print JSON.
    """
    dataset = load_splits(config.data, NumberReader(), config.training.seed)
    result = measured(dataset, preset, config.model)
    numbers = {split: _distributions(part, dataset) for split, part in dataset if part.targets}
    if as_json:
        content = {
            **dataclasses.asdict(result),
            "targets": dataset.classes,
            "numbers": numbers,
            "skipped": dataset.skipped,
            "reasons": dataset.reasons,
            "concerns": concerns(result),
            "first_rows": _first_rows(dataset, rows),
        }
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        _print_tables(dataset, result, numbers, rows)


def _distributions(rows: NumberRows, dataset: Dataset[NumberRows]) -> dict[str, dict[str, Any]]:
    """Return the distribution of each target. All splits have the bins of the training rows."""
    train = np.asarray(dataset["train"].targets, np.float64)
    targets = np.asarray(rows.targets, np.float64)
    return {
        name: _distribution(targets[:, place], train[:, place].min(), train[:, place].max())
        for place, name in enumerate(dataset.classes)
    }


def _distribution(values: np.ndarray, low: float, high: float) -> dict[str, Any]:
    quartiles = dict(zip(("p25", "p50", "p75"), np.quantile(values, [0.25, 0.5, 0.75]).tolist(), strict=True))
    # numbers outside of the training range count in the outermost bins
    counts, _ = np.histogram(np.clip(values, low, high), bins=BINS, range=(low, high))
    return {
        "min": float(values.min()),
        **quartiles,
        "max": float(values.max()),
        "mean": float(values.mean()),
        "deviation": float(values.std()),
        "different": len(np.unique(values)),
        "outside_train": int(((values < low) | (values > high)).sum()),
        "histogram": counts.tolist(),
    }


def _first_rows(dataset: Dataset[NumberRows], count: int) -> list[dict[str, Any]]:
    train = dataset.splits["train"]
    return list(train.take(range(min(count, len(train)))).objects(dataset.classes))


def _print_tables(
    dataset: Dataset[NumberRows], result: Audit, numbers: dict[str, dict[str, dict[str, Any]]], rows: int
) -> None:
    console = Console(highlight=False)
    targets = ", ".join(dataset.classes)
    print_heading(console, dataset, f"numbers in {escaped(targets)}")
    for table in (_number_table(numbers), length_table(result), duplicate_table(result)):
        console.print()
        console.print(table)
        if table.title == "Numbers":
            for line in _histograms(numbers):
                console.print(escaped(line), soft_wrap=True)
    for split, found in numbers.items():
        for name, values in found.items():
            line = f"{split}, {name}: {values['outside_train']:,} of {result.splits[split].rows:,} rows lie outside"
            if values["outside_train"]:
                console.print(f"{escaped(line)} of the range of the training rows.", soft_wrap=True)
    print_unit(console, result)
    print_concerns(console, concerns(result))
    if rows:
        console.print()
        console.print(_row_table(dataset, rows))


def _number_table(numbers: dict[str, dict[str, dict[str, Any]]]) -> Table:
    keys = ("min", "p25", "p50", "p75", "max", "mean", "deviation")
    table = plain_table("target", "split", *keys, title="Numbers")
    table.columns[1].justify = "left"
    for name in next(iter(numbers.values())):
        for split, found in numbers.items():
            cells = [f"{found[name][key]:.4g}" for key in keys]
            table.add_row(escaped(short(name, 40)), split, *cells)
    return table


def _histograms(numbers: dict[str, dict[str, dict[str, Any]]]) -> Iterator[str]:
    """Yield a line with the histogram of each target in each split. All splits have the bins of the training rows."""
    for name, train in numbers["train"].items():
        for split, found in numbers.items():
            ends = f"{train['min']:.4g} {_bars(found[name]['histogram'])} {train['max']:.4g}"
            yield f"{split + ' ' + short(name, 30):<24} {ends}"


def _bars(counts: list[int]) -> str:
    """Return a histogram as one line of blocks. A bin with rows has at least the lowest block."""
    most = max(counts) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)


def _row_table(dataset: Dataset[NumberRows], count: int) -> Table:
    table = plain_table("id", "label", "text", title="First training rows", justify="left")
    for row in _first_rows(dataset, count):
        text = " / ".join(short(row[key]) for key in ("text", "pair") if key in row)
        values = row["label"] if isinstance(row["label"], list) else [row["label"]]
        table.add_row(escaped(row["id"]), ", ".join(f"{value:g}" for value in values), escaped(text))
    return table
