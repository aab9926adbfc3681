"""`kerora data`: inspect a data set, or save it after processing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kerora.cli.options import config_options, resolve_options, setting_options
from kerora.cli.tables import cut, duplicate_table, escaped, length_table, percent, plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from kerora.data.audit import Audit
    from kerora.data.rows import Dataset
    from kerora.settings.fit import FitConfig


DATA = ("data.", "language.prompt", "language.completion", "language.turns", "training.seed")
LEFT_OUT = ("data.source",)


@click.group("data")
def command() -> None:
    """Inspect or save a data set.

    SPEC is a value of `kerora fit --data`: tickets, a TFDS name, a file or a folder.
    """


@command.command()
@click.argument("spec", required=False)
@setting_options("task", *DATA, "model.max_length", leave_out=LEFT_OUT)
@click.option("--preset", help="Measure lengths with the tokenizer of this model. Default: lengths are in words.")
@click.option("--rows", type=click.IntRange(min=0), default=5, show_default=True, help="Number of rows to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_options
def show(spec: str | None, preset: str | None, rows: int, as_json: bool, **values: Any) -> None:
    """Print counts, label balance, lengths, truncation, duplicates, leakage and the first rows.

    With --task causal-lm, SPEC holds texts, prompts with completions, or conversations.
    """
    from kerora.data.audit import audit
    from kerora.data.sources import load_dataset

    config = _config(spec, values)
    if config.task == "causal-lm":
        from kerora.cli.texts import show_texts

        show_texts(config, preset, rows, as_json)
        return
    dataset = load_dataset(config.data, config.training.seed)
    result = audit(dataset, _tokenizer_lengths(preset), config.model.max_length)
    if as_json:
        _print_json(dataset, result, rows)
    else:
        _print_tables(dataset, result, rows)


@command.command()
@click.argument("spec")
@click.argument("directory", type=click.Path(path_type=Path))
@setting_options("task", *DATA, leave_out=LEFT_OUT)
@click.option("--force", is_flag=True, help="Replace a data set that was saved in DIRECTORY.")
@config_options
def save(spec: str, directory: Path, force: bool, **values: Any) -> None:
    """Write SPEC to DIRECTORY after processing (split, subset, class names). `--data DIRECTORY` reads it again."""
    from kerora.data.language import load_documents
    from kerora.data.save import save_dataset
    from kerora.data.sources import load_dataset

    config = _config(spec, values)
    language = config.task == "causal-lm"
    seed = config.training.seed
    dataset = load_documents(config.data, config.language, seed) if language else load_dataset(config.data, seed)
    save_dataset(dataset, directory, force)
    counts = ", ".join(f"{split} {len(rows)}" for split, rows in dataset)
    what = "texts" if language else f"rows, {len(dataset.classes)} classes"
    click.echo(f"Saved {dataset.name} to {directory}: {counts} {what}.")


def _config(spec: str | None, values: dict[str, Any]) -> FitConfig:
    if spec is not None:
        values = {**values, "setting__data__source": spec}
    return resolve_options(values)


def _tokenizer_lengths(preset: str | None) -> Any:
    if preset is None:
        return None
    from kerora.models.presets import find_preset

    tokenizer = find_preset(preset).load_tokenizer()
    return lambda rows: tokenizer.lengths(rows.texts, rows.pairs)


def _print_json(dataset: Dataset, result: Audit, rows: int) -> None:
    import dataclasses
    import json

    content = {**dataclasses.asdict(result), "classes": dataset.classes, "skipped": dataset.skipped}
    content["first_rows"] = _first_rows(dataset, rows)
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _first_rows(dataset: Dataset, count: int) -> list[dict[str, str]]:
    train = dataset.splits["train"]
    first = train.take(range(min(count, len(train))))
    labels = [dataset.classes[number] for number in first.labels or ()]
    rows = [
        dict(zip(("id", "label", "text"), row, strict=True)) for row in zip(first.ids, labels, first.texts, strict=True)
    ]
    return [{**row, "pair": pair} for row, pair in zip(rows, first.pairs, strict=True)] if first.pairs else rows


def _print_tables(dataset: Dataset, result: Audit, rows: int) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    console.print(f"[bold]{escape(dataset.name)}[/bold]: {len(dataset.classes)} classes")
    for split, count in dataset.skipped.items():
        console.print(f"{split}: {count} bad rows were dropped")
    for table in (_label_table(dataset, result), length_table(result), duplicate_table(result)):
        console.print(table)
    if result.unit == "words":
        console.print("Lengths are in words; --preset NAME counts that model's tokens, of which there are more.")
    for split, leak in result.leakage.items():
        for here, there, text in leak.examples:
            console.print(
                f"{split} row {escape(here)} = train row {escape(there)}: {escape(cut(text))}", soft_wrap=True
            )
    if rows:
        console.print(_row_table(dataset, rows))


def _label_table(dataset: Dataset, result: Audit) -> Table:
    table = plain_table("Labels", "class", *result.splits)
    for name in dataset.classes:
        counts = [(split.labels[name], split.rows) for split in result.splits.values()]
        table.add_row(escaped(name), *(f"{count} ({percent(count / max(1, total))})" for count, total in counts))
    table.add_row("all", *(str(split.rows) for split in result.splits.values()), style="bold")
    return table


def _row_table(dataset: Dataset, count: int) -> Table:
    table = plain_table("First training rows", "id", "label", "text", justify="left")
    for row in _first_rows(dataset, count):
        text = " / ".join(cut(row[key]) for key in ("text", "pair") if key in row)
        table.add_row(escaped(row["id"]), escaped(row["label"]), escaped(text))
    return table
