import json

import pyarrow
import pyarrow.parquet
import pytest

from kerora.data.parquet import open_parquet
from kerora.errors import DataError


def write(path, columns, metadata=None):
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


def test_rows_are_read_in_batches_in_order(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": [f"t{i}" for i in range(10)], "label": [i % 2 for i in range(10)]})
    with open_parquet(path, batch_rows=3) as table:
        assert table.columns == ("text", "label")
        rows = list(table.rows)
    assert [row.number for row in rows] == list(range(1, 11))
    assert rows[9].values == {"text": "t9", "label": 1}
    assert rows[0].place == "row 1"


def test_dictionary_columns_and_nulls_are_plain_values(tmp_path):
    column = pyarrow.array(["a", None, "a"]).dictionary_encode()
    with open_parquet(write(tmp_path / "a.parquet", {"text": column})) as table:
        assert [row.values["text"] for row in table.rows] == ["a", None, "a"]


def test_class_names_of_hugging_face_metadata_are_kept(tmp_path):
    features = {
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    with open_parquet(write(tmp_path / "a.parquet", {"text": ["x"], "label": [1]}, metadata)) as table:
        assert table.class_names == {"label": ("neg", "pos")}


@pytest.mark.parametrize("metadata", ["not json", "[]", '{"info": 3}', '{"info": {"features": []}}'])
def test_foreign_metadata_is_ignored(tmp_path, metadata):
    with open_parquet(write(tmp_path / "a.parquet", {"text": ["x"]}, {"huggingface": metadata})) as table:
        assert table.class_names == {}


def test_damaged_files_are_named(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": [f"text {i}" for i in range(5000)]})
    whole = path.read_bytes()
    for content in (b"", b"no parquet", whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a.parquet is not a readable Parquet file"), open_parquet(path):
            pass
    path.write_bytes(whole[:100] + b"\xff" * 400 + whole[500:])
    with pytest.raises(DataError, match=r"not a readable Parquet file after row 0"), open_parquet(path) as table:
        list(table.rows)


def test_no_rows_are_an_error(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": pyarrow.array([], pyarrow.string())})
    with pytest.raises(DataError, match=r"is empty"), open_parquet(path):
        pass
