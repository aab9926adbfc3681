"""Files whose rows name their part in a column."""

import json
import warnings
from pathlib import Path

import pytest

from kerora.data.labelled import LabelledReader
from kerora.data.language import load_documents
from kerora.data.sources import load_dataset, read_part
from kerora.errors import DataError
from kerora.settings.fit import DataConfig
from kerora.settings.language import LanguageConfig


def write(path: Path, splits: list[str | None], column: str = "split") -> Path:
    rows = [{"text": f"text {number}", "label": "ab"[number % 2], column: split} for number, split in enumerate(splits)]
    if path.suffix == ".csv":
        lines = [",".join(str(value) if value is not None else "" for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
@pytest.mark.parametrize("column", ["split", "Partition", "data_split"])
def test_the_rows_go_to_the_parts_that_they_name(tmp_path: Path, ending: str, column: str) -> None:
    path = write(tmp_path / f"a{ending}", ["train", "Test", "TRAIN", "dev", "train", "test", "val", "train"], column)
    with pytest.warns(UserWarning, match=f"the column '{column}' divides the rows: 4 train, 2 validation, 2 test"):
        found = load_dataset(path)
    assert {split: list(rows.texts) for split, rows in found} == {
        "train": ["text 0", "text 2", "text 4", "text 7"],
        "validation": ["text 3", "text 6"],
        "test": ["text 1", "text 5"],
    }


def test_language_models_read_the_same_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ["train"] * 5 + ["test"])
    with pytest.warns(UserWarning, match="5 train, 1 test"):
        found = load_documents(DataConfig(source=str(path), validation_split=0.2), LanguageConfig())
    assert {split: len(rows) for split, rows in found} == {"train": 4, "validation": 1, "test": 1}


def test_a_part_is_read_alone_and_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["train"] * 6 + ["test"] * 2)
    with pytest.warns(UserWarning, match="divides the rows"):
        assert len(read_part(str(path), DataConfig(), LabelledReader(), "test").rows) == 2
    with pytest.warns(UserWarning, match="only its train part is read. --data reads all parts"):
        assert "test" not in load_dataset(DataConfig(train=str(path))).splits


@pytest.mark.parametrize(
    "splits", [["train"] * 6, ["first", "second"] * 3, [None] * 6, ["train", "banana"] * 3, ["test"] * 6]
)
def test_other_values_divide_nothing(tmp_path: Path, splits: list[str | None]) -> None:
    path = write(tmp_path / "a.csv", splits)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum(len(rows) for _, rows in load_dataset(path)) == 6


def test_a_column_with_a_role_divides_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["train", "test"] * 5, "set")
    found = load_dataset(DataConfig(source=str(path), label="set"))
    assert found.classes == ("test", "train")


def test_parts_beside_other_words_are_a_question(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["train", "test", "extra", None, "train", "train"])
    with pytest.raises(DataError, match=r"names parts \(train, test\), but also 'extra', ''"):
        load_dataset(path)


def test_a_row_that_cannot_be_read_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["train"] * 6 + ["test"] * 4)
    path.write_text(path.read_text() + "one,field,too,many\n")
    with pytest.raises(DataError, match="1 row cannot be used: row 11"):
        load_dataset(path)
    with pytest.warns(UserWarning, match="divides"):
        found = load_dataset(DataConfig(source=str(path), skip_bad_rows=True))
    assert sum(found.skipped.values()) == 1
