"""Texts with the number of their words, which nobody has to write down."""

import json
from collections.abc import Sequence
from typing import Any

import click

from kerora.data.columns import find_columns
from kerora.data.extract import record_of, row_problem
from kerora.data.row_reader import RowReader, Settled, SourcePart, read_table
from kerora.data.rows import Dataset, Rows
from kerora.data.sources import load_splits, read_part
from kerora.data.table import RawRow, Table
from kerora.settings.fit import DataConfig, FitConfig


class CountedReader(RowReader[SourcePart[Rows[float]], Rows[float]]):
    """Reads texts and counts their words."""

    def table(self, table: Table, config: DataConfig) -> SourcePart[Rows[float]]:
        columns = find_columns(table.columns, config, table.name, labelled=False)
        part = self.empty(table.name)

        def add(row: RawRow) -> str | None:
            problem = row_problem(row, columns)
            if problem is None:
                record = record_of(row, columns)
                part.rows.append(record.text, record.id, float(len(record.text.split())))
            return problem

        return read_table(table, part, add, config)

    def empty(self, source: str) -> SourcePart[Rows[float]]:
        return SourcePart(source, Rows([], []))

    def settle(self, parts: Any, config: DataConfig) -> Settled[Rows[float]]:
        return Settled({split: part.rows for split, part in parts.items()})


def load(config: FitConfig, without: Sequence[str] = ()) -> Dataset[Rows[float]]:
    return load_splits(config.data, CountedReader(), config.training.seed, without)


def load_part(spec: str, config: FitConfig, head: None, split: str) -> Rows[float]:
    return read_part(spec, config.data, CountedReader(), split).rows


def check_fits(dataset: Any, head: None, run: object) -> None:
    """Any text has words."""


def counts(dataset: Dataset[Rows[float]]) -> str:
    return ", ".join(f"{split} {len(rows)}" for split, rows in dataset)


def show(config: FitConfig, preset: str | None, rows: int, as_json: bool) -> None:
    click.echo(json.dumps({split: list(part.targets or ()) for split, part in load(config)}))
