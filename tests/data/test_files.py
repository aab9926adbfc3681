import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from kerora.config import DataConfig
from kerora.data.files import format_of, is_data_file, local_names, open_table, stem_of
from kerora.errors import DataError

ROWS = [{"text": "ä, b", "label": "x"}, {"text": "c", "label": "y"}]


def write_all_formats(folder):
    csv = 'text,label\n"ä, b",x\nc,y\n'
    contents = {
        "a.csv": csv,
        "b.CSV": "\ufeff" + csv,
        "c.tsv": "text\tlabel\nä, b\tx\nc\ty\n",
        "d.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
        "e.ndjson": "".join(json.dumps(row) + "\n" for row in ROWS),
        "f.json": json.dumps(ROWS),
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
        (folder / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "g.parquet")
    return sorted(folder.iterdir())


def test_every_format_gives_the_same_table(tmp_path):
    paths = write_all_formats(tmp_path)
    assert len(paths) == 13
    for path in paths:
        with open_table(path, DataConfig()) as table:
            assert table.columns == ("text", "label"), path
            assert [row.values for row in table.rows] == ROWS, path


def test_names():
    assert format_of(Path("a/Train.CSV.gz")) == ".csv"
    assert stem_of(Path("a/train.csv.gz")) == "train"
    assert stem_of(Path("a.b/v1.train.csv")) == "v1.train"
    assert is_data_file(Path("a.jsonl.gz"))
    assert not is_data_file(Path("a.parquet.gz"))
    assert not is_data_file(Path("a.txt"))


def test_local_names_are_data_files_and_folders(tmp_path):
    for name in ("a.csv", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert sorted(local_names(tmp_path)) == ["a.csv", "folder"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tickts.csv", r"There is no file .*tickts\.csv\. Did you mean 'tickets\.csv'"),
        ("none/a.csv", r"the folder .*none does not exist"),
        ("notes.xlsx", r"the ending '\.xlsx' is not a known format\. Give CSV"),
        ("folder.csv", r"is not a file"),
    ],
)
def test_unusable_paths(tmp_path, name, message):
    (tmp_path / "tickets.csv").write_text("text,label\n")
    (tmp_path / "notes.xlsx").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=message), open_table(tmp_path / name, DataConfig()):
        pass
