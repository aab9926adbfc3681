"""The output of `kerora data show --task causal-lm`."""

import dataclasses
import json
from typing import Any

import click
from rich.console import Console

from kerora.data.audit import Audit, TextCounts, audit_texts
from kerora.data.concerns import concerns
from kerora.data.documents import Documents
from kerora.data.language import load_documents
from kerora.data.rows import Dataset
from kerora.evaluation.audit_tables import (
    duplicate_table,
    escaped,
    length_table,
    percent,
    print_concerns,
    print_heading,
    print_tables,
    print_unit,
    short,
)
from kerora.evaluation.terminal import plain_table
from kerora.settings.fit import FitConfig, refuse_long

TITLES = {"text": "texts", "completion": "prompts with completions", "turns": "conversations"}
MARK = "»"


def show(config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
    """Print the audit of the data of a language model.

    Args:
        config: the settings of the data, and the maximum length of a row.
        preset: model whose tokenizer measures the lengths. None counts words.
        rows: number of first texts to show.
        as_json: whether to print JSON.
    """
    refuse_long(config.model)
    dataset = load_documents(config.data, config.language, config.training.seed)
    result, counts = audit_texts(dataset, _token_counts(preset), config.model.max_length)
    if as_json:
        content = {**dataclasses.asdict(result), "skipped": dataset.skipped, "reasons": dataset.reasons}
        # cut=False: plain texts that are too long are divided into rows, so nothing of them is lost
        content |= {"first_rows": _first(dataset, rows), "concerns": concerns(result, cut=False)}
        content["texts"] = {split: dataclasses.asdict(count) for split, count in counts.items()}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    _print(dataset, result, counts, rows)


def _token_counts(preset: str | None) -> Any:
    if preset is None:
        return None
    # here, because it loads torch and Keras, which a count of words does not need
    from kerora.models.presets import find_preset

    tokenizer = find_preset(preset).load_tokenizer()
    return lambda texts: [len(ids) for ids in tokenizer.plain_ids(texts)]


def _first(dataset: Dataset[Documents], count: int) -> list[dict[str, Any]]:
    return list(_train(dataset, count).objects())


def _train(dataset: Dataset[Documents], count: int) -> Documents:
    train = dataset["train"]
    return train.take(range(min(count, len(train))))


def _print(dataset: Dataset[Documents], result: Audit, counts: dict[str, TextCounts], rows: int) -> None:
    console = Console(highlight=False)
    form = counts["train"].form
    print_heading(console, dataset, TITLES[form])
    table = plain_table("split", "texts", "parts", "characters", result.unit, "in the loss", title="Texts")
    for split, count in counts.items():
        numbers = (count.texts, count.parts, count.characters, count.size)
        # a split may hold no tokens
        share = f"{count.counted:,} ({percent(count.counted / max(1, count.size))})"
        table.add_row(split, *(f"{number:,}" for number in numbers), share)
    print_tables(console, (table, length_table(result, cut=False), duplicate_table(result, labelled=False)))
    print_concerns(console, concerns(result, cut=False))
    print_unit(console, result)
    if not rows:
        return
    first = _train(dataset, rows)
    table = plain_table("id", "text", title="First training texts", justify="left")
    for parts, identifier in zip(first.parts, first.ids, strict=True):
        # a text of one part is in the loss as a whole, so a mark would say nothing
        marked = [
            f"{MARK} {short(part.text)}" if part.counted and len(parts) > 1 else short(part.text) for part in parts
        ]
        table.add_row(escaped(identifier), escaped("\n".join(marked)))
    console.print()
    console.print(table)
    if form != "text":
        console.print(f"{MARK} marks the parts in the loss.")
