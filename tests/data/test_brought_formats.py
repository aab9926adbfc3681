"""Compressed files, JSON, standard input and folders from elsewhere: read, or refused with a remedy that works."""

import bz2
import datetime
import decimal
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.data.brought import EXPECTED, GOOD, ROWS, parts, refused, rows, texts, write

# Compression, by the first bytes


def zipped(content: bytes, name: str = "inner.csv", **more: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for key, value in {name: content, "__MACOSX/._inner.csv": b"x", **more}.items():
            archive.writestr(key, value)
    return stream.getvalue()


def zstandard(content: bytes) -> bytes:
    target = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(target, "zstd") as stream:
        stream.write(content)
    return bytes(target.getvalue().to_pybytes())


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zst"])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard, zipped, bytes])
def test_compression_is_recognised_whatever_the_name(
    tmp_path: Path, compress: Callable[[bytes], bytes], name: str
) -> None:
    assert rows(write(tmp_path / name, compress(GOOD.encode()))) == EXPECTED
    assert texts(compress(GOOD.encode()), format="csv") == ["fine day", "wet day"]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard, zipped])
def test_cut_files_are_damaged(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    content = compress("".join(f"{number} {number**9},x\n" for number in range(5000)).encode())
    with refused("damaged compressed file"):
        rows(write(tmp_path / "a.csv", content[: len(content) // 2]), columns="text,label")


def test_zip_archives(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.zip", zipped(GOOD.replace(",", "\t").encode(), "b.tsv"))) == EXPECTED
    with refused(r"is a zip archive of 2 files \(inner\.csv, two\). Unpack it"):
        rows(write(tmp_path / "b.csv.zip", zipped(GOOD.encode(), two=b"2")))
    with refused("is an Excel or Word file. Save the table as CSV"):
        rows(write(tmp_path / "c.xlsx", zipped(b"", "[Content_Types].xml", two=b"2")))


# JSON


def indexed(table: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {str(number): row for number, row in enumerate(table)}


LAYOUTS: dict[str, Any] = {
    "rows": ROWS,
    "columns": {key: [row[key] for row in ROWS] for key in ("text", "label")},
    "nested": {"version": "1.0", "data": ROWS, "names": ["x", "y"]},
    "other name": {"reviews": ROWS},
    "pandas": {key: {str(number): row[key] for number, row in enumerate(ROWS)} for key in ("text", "label")},
    "index": indexed(ROWS),
    "split": {"columns": ["text", "label"], "index": [0, 1], "data": [list(row.values()) for row in ROWS]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("indent", [None, 1])
def test_layouts_of_json(tmp_path: Path, layout: str, indent: int | None) -> None:
    content = json.dumps(LAYOUTS[layout], indent=indent)
    assert rows(write(tmp_path / "a.json", content)) == EXPECTED
    assert texts(content, format="json") == ["fine day", "wet day"]
    if layout in ("rows", "columns") or indent:
        assert texts(content) == ["fine day", "wet day"]
        assert rows(write(tmp_path / "a.jsonl", content)) == EXPECTED


def test_lines_in_a_json_file(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.json", "\n".join(map(json.dumps, ROWS)))) == EXPECTED


def test_parts_in_a_json_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps({"Train": ROWS, "dev": LAYOUTS["columns"]}))
    assert parts(path) == {"train": EXPECTED, "validation": EXPECTED}
    with refused("holds the parts train and validation. Give it with --data"):
        texts(path)


def test_two_lists_of_rows_are_refused(tmp_path: Path) -> None:
    with refused("holds several lists of rows: good, bad"):
        rows(write(tmp_path / "a.json", json.dumps({"good": ROWS, "bad": ROWS})))


def test_texts_in_a_list_are_texts() -> None:
    assert texts('["one", "two"]') == texts('[\n"one",\n"two"\n]') == ["one", "two"]


def test_a_text_that_begins_like_the_mark_of_a_binary_file_is_a_text() -> None:
    assert texts("ARROW keys do not work\n") == ["ARROW keys do not work"]


def test_values_inside_objects_have_dotted_names(tmp_path: Path) -> None:
    nested = [{"review": {"body": row["text"], "stars": {"n": number}}} for number, row in enumerate(ROWS)]
    found = [("fine day", "0"), ("wet day", "1")]
    columns = {"text": "review.body", "label": "review.stars.n"}
    assert rows(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, nested))), **columns) == found
    assert rows(write(tmp_path / "a.json", json.dumps(nested)), **columns) == found
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(nested), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet", **columns) == found
    with refused(r"Its columns: review, review\.body, review\.stars, review\.stars\.n"):
        rows(tmp_path / "a.parquet")


# Standard input


def test_a_table_on_standard_input_is_not_taken_for_texts() -> None:
    for content in ("id,text\n1,a\n", "text;label\na;x\n", "1\ta\n", "text\na\n"):
        with refused("looks like the first line of a table. Add --format"):
            texts(content)
    assert texts("id,text\n1,a\n", format="csv") == ["a"]
    assert texts('id\ttext\n1\t"a\n2\tb"\n', format="tsv") == ['"a', 'b"']
    assert texts("id,text\n", format="txt") == ["id,text"]
    assert texts("[1] says so\nmy email, please\n") == ["[1] says so", "my email, please"]


def test_every_format_on_standard_input(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert texts((tmp_path / "a.parquet").read_bytes()) == ["fine day", "wet day"]
    assert texts("__label__x fine day\n__label__y wet day\n") == ["fine day", "wet day"]
    assert texts(json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[1])) == ["fine day", "wet day"]


def test_a_table_in_a_txt_file_is_not_taken_for_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", GOOD)
    with refused("looks like the first line of a table"):
        texts(path)
    assert texts(path, format="csv") == ["fine day", "wet day"]
    assert rows(path, format="csv") == EXPECTED


def test_a_format_that_contradicts_the_ending_is_refused(tmp_path: Path) -> None:
    with refused("is read as csv, by its ending. --format jsonl is for standard input"):
        rows(write(tmp_path / "a.csv", GOOD), format="jsonl")
    with refused("'.data' is not a known format.*add --format"):
        rows(write(tmp_path / "a.data", GOOD))
    assert rows(tmp_path / "a.data", format="csv") == EXPECTED


# fastText, Parquet, Arrow


def test_labels_of_fasttext(tmp_path: Path) -> None:
    content = "__label__x fine day\n\n__label__x __label__y both\nnone\n__label__y wet day\n"
    for name in ("a.txt", "cooking.train", "a.csv.txt"):
        with refused(r"row 2 \(line 3\) has several labels: x, y; .* row 3 \(line 4\) has no label"):
            rows(write(tmp_path / name, content))
        assert rows(tmp_path / name, skip_bad_rows=True) == EXPECTED


def test_dates_bytes_and_decimals_are_what_a_csv_has(tmp_path: Path) -> None:
    for value, name in (
        (datetime.date(2024, 2, 1), "2024-02-01"),
        (datetime.datetime(2024, 2, 1, 8, 30), "2024-02-01 08:30:00"),
        (decimal.Decimal("2.50"), "2.50"),
        (b"x", "x"),
    ):
        pyarrow.parquet.write_table(pyarrow.table({"text": [b"fine"], "label": [value]}), tmp_path / "a.parquet")
        assert rows(tmp_path / "a.parquet") == [("fine", name)]
    pyarrow.parquet.write_table(pyarrow.table({"text": ["fine"], "label": [b"\xff"]}), tmp_path / "a.parquet")
    with refused("a label must be text, a number, a date or true/false. Received"):
        rows(tmp_path / "a.parquet")


# Folders


def arrow(path: Path, *, stream: bool = True) -> None:
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["x", "y"]}}}}
    table = pyarrow.table({"text": [row["text"] for row in ROWS], "label": [0, 1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyarrow.OSFile(str(path), "wb") as file:
        make = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
        with make(file, table.schema) as writer:
            writer.write_table(table)


def saved_to_disk(folder: Path, **state: Any) -> None:
    names = [f"data-{number:05}-of-00002.arrow" for number in range(2)]
    for name in names:
        arrow(folder / name)
    write(folder / "state.json", json.dumps({"_data_files": [{"filename": name} for name in names], **state}))
    write(folder / "dataset_info.json", "{}")


def test_a_folder_of_save_to_disk(tmp_path: Path) -> None:
    for split in ("train", "test", "unsupervised"):
        saved_to_disk(tmp_path / split)
    write(tmp_path / "dataset_dict.json", json.dumps({"splits": ["train", "test", "unsupervised"]}))
    assert parts(tmp_path) == {"test": EXPECTED * 2, "train": EXPECTED * 2}
    assert parts(tmp_path / "unsupervised") == {"train": EXPECTED * 2}
    saved_to_disk(tmp_path / "selected", _indices_data_files=[{"filename": "indices.arrow"}])
    with refused(r"holds a selection of rows. Write them with flatten_indices\(\)"):
        parts(tmp_path / "selected")


@pytest.mark.parametrize("stream", [True, False])
def test_an_arrow_file(tmp_path: Path, stream: bool) -> None:
    arrow(tmp_path / "a.arrow", stream=stream)
    assert rows(tmp_path / "a.arrow") == EXPECTED
    assert texts((tmp_path / "a.arrow").read_bytes(), format="arrow") == ["fine day", "wet day"]


def test_a_clone_of_a_hub(tmp_path: Path) -> None:
    write(tmp_path / "README.md", "---\n---\n")
    write(tmp_path / ".gitattributes", "*.parquet lfs")
    table = pyarrow.Table.from_pylist(ROWS)
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        pyarrow.parquet.write_table(table, tmp_path / "data" / f"{name}.parquet")
    assert parts(tmp_path) == {"test": EXPECTED, "train": EXPECTED * 2}
    write(tmp_path / "more" / "train.csv", GOOD)
    with refused(r"holds several data sets: .*data, .*more. Give one of these folders"):
        parts(tmp_path)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", "version https://git-lfs.github.com/spec/v1\n")
    with refused("is only a pointer of Git LFS, not the data. Run `git lfs pull`"):
        parts(tmp_path / "data")


def test_tables_in_folders_named_by_split(tmp_path: Path) -> None:
    for name in ("train/0000.jsonl", "train/0001.jsonl", "validation/0000.jsonl"):
        write(tmp_path / name, "\n".join(map(json.dumps, ROWS)))
    assert parts(tmp_path) == {"train": EXPECTED * 2, "validation": EXPECTED}
    write(tmp_path / "train/0002.csv", GOOD)
    with refused("are the same part of the data"):
        parts(tmp_path)


def test_splits_inside_the_names_of_files(tmp_path: Path) -> None:
    write(tmp_path / "snli-train.csv", GOOD)
    write(tmp_path / "snli-dev.csv.gz", gzip.compress(GOOD.encode()))
    write(tmp_path / "sample_submission.csv", "id,label\n")
    assert parts(tmp_path) == {"train": EXPECTED, "validation": EXPECTED}
    write(tmp_path / "mnli-test.csv", GOOD)
    with refused("holds files of several data sets: .* Name the files with --train"):
        parts(tmp_path)
