"""A task of its own, by nothing but a row reader: its data come from every source, split, cut, saved and audited."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from kerora.data.audit import audit
from kerora.data.columns import find_columns
from kerora.data.extract import record_of, row_problem
from kerora.data.row_reader import RowReader, Settled, SourcePart, read_table
from kerora.data.rows import Rows
from kerora.data.save import save_dataset
from kerora.data.sources import load_splits, read_part, read_source
from kerora.data.table import RawRow, Table
from kerora.data.text_store import TextStore
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

Counted = SourcePart[Rows[float]]


class WordCounter(RowReader[Counted, Rows[float]]):
    """Texts, each with the number of its words. A model has to predict the number."""

    def table(self, table: Table, config: DataConfig) -> Counted:
        columns = find_columns(table.columns, config, table.name, labelled=False)
        part = self.empty(table.name)

        def add(row: RawRow) -> str | None:
            problem = row_problem(row, columns)
            if problem is None:
                record = record_of(row, columns)
                part.rows.append(record.text, record.id, float(len(record.text.split())), record.pair)
            return problem

        return read_table(table, part, add, config)

    def empty(self, source: str) -> Counted:
        return SourcePart(source, Rows(TextStore(), TextStore()))

    def settle(self, parts: Mapping[str, Counted], config: DataConfig) -> Settled[Rows[float]]:
        return Settled({split: part.rows for split, part in parts.items()})


def write(path: Path, count: int) -> Path:
    rows = ({"id": f"{path.stem}-{number}", "text": "word " * (number % 7 + 1)} for number in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_is_split_and_cut(tmp_path: Path) -> None:
    source = str(write(tmp_path / "rows.jsonl", 40))
    dataset = load_splits(DataConfig(source=source, test_split=0.2, subset=20), WordCounter(), 3)
    assert (dataset.name, dataset.classes) == ("rows", ())
    assert {split: len(rows) for split, rows in dataset} == {"train": 20, "validation": 4, "test": 8}
    for _, rows in dataset:
        assert rows.targets == [float(len(text.split())) for text in rows.texts]
    assert dataset.fingerprints()["train"]["labels"] == {}
    assert load_splits(DataConfig(source=source, test_split=0.2, subset=20), WordCounter(), 3) == dataset


def test_the_bundled_set_without_a_part() -> None:
    parts = read_source("tickets", DataConfig(), WordCounter(), without=("test",))
    assert {split: len(part.rows) for split, part in parts.items()} == {"train": 977, "validation": 209, "test": 0}


def test_folders_shards_and_bad_rows(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"train-0000{number}-of-00002.jsonl", 5)
    with write(tmp_path / "test.jsonl", 3).open("a") as stream:
        stream.write('{"text": " "}\n')
    with pytest.raises(DataError, match=r"test\.jsonl: 1 row cannot be used: row 4 \(line 4\) has an empty text"):
        load_splits(DataConfig(source=str(tmp_path)), WordCounter())
    dataset = load_splits(DataConfig(source=str(tmp_path), skip_bad_rows=True, validation_split=0), WordCounter())
    assert {split: len(rows) for split, rows in dataset} == {"train": 10, "test": 3}
    assert dataset.skipped == {"test": 1}
    assert dataset["train"].targets == [1, 2, 3, 4, 5] * 2
    with pytest.raises(DataError, match="has no validation part, only "):
        read_part(str(tmp_path), DataConfig(), WordCounter(), "validation")


def test_only_tables_are_read_where_nothing_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("a text")
    with pytest.raises(DataError, match=r"book\.txt: the ending '\.txt' is not a known format"):
        load_splits(DataConfig(source=str(tmp_path / "book.txt")), WordCounter())
    with pytest.raises(DataError, match="holds no data set. It needs train and test files"):
        load_splits(DataConfig(source=str(tmp_path)), WordCounter())


def test_they_can_be_saved_and_audited(tmp_path: Path) -> None:
    dataset = load_splits(DataConfig(source=str(write(tmp_path / "rows.jsonl", 20))), WordCounter())
    save_dataset(dataset, tmp_path / "saved")
    first = json.loads((tmp_path / "saved" / "train.jsonl").read_text().splitlines()[0])
    assert first == {
        "id": dataset["train"].ids[0],
        "text": dataset["train"].texts[0],
        "label": dataset["train"].targets[0],
    }
    again = load_splits(DataConfig(source=str(tmp_path / "saved")), WordCounter())
    assert again.splits == dataset.splits
    assert audit(dataset, None, 5).splits["train"].conflicts == 0
