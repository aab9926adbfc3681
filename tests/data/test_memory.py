"""Rows in memory give the rows that a file with the same content gives, or one line that says what is wrong."""

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from kerora.data.memory import parts_in_memory, write_part
from kerora.data.memory_values import NotWritableError, plain_value
from kerora.data.sources import load_dataset
from kerora.errors import DataError
from kerora.notices import Notice
from kerora.settings.fit import DataConfig

TEXTS = ["late parcel", "where is it", "charged twice", "wrong invoice"]
LABELS = ["delivery", "delivery", "billing", "billing"]
ROWS = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


class Items(torch.utils.data.Dataset[Any]):
    """A map-style data set, which has no `__iter__`."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        return self.rows[place]


class Numpy:
    """What `kerora` uses of a `tf.data.Dataset`: an iterator over values of numpy, with texts as bytes."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def as_numpy_iterator(self) -> Iterator[Any]:
        return iter(self.items)


def written(value: Any, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    path = write_part(value, folder, "train", DataConfig(**settings))
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pairs() -> list[tuple[str, str]]:
    return list(zip(TEXTS, LABELS, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"text": TEXTS, "label": np.array(LABELS)},
        lambda: ROWS,
        lambda: (TEXTS, LABELS),
        lambda: (np.array(TEXTS), pyarrow.array(LABELS)),
        pairs,
        lambda: iter(pairs()),
        lambda: pyarrow.table({"text": TEXTS, "label": LABELS}),
        lambda: pyarrow.record_batch({"text": TEXTS, "label": LABELS}),
        lambda: Items(pairs()),
        lambda: Items(ROWS),
        lambda: torch.utils.data.DataLoader(Items(pairs()), batch_size=3),
        lambda: (
            torch.utils.data.DataLoader(Items(ROWS), batch_size=4, collate_fn=list)
            and torch.utils.data.DataLoader(Items(pairs()), batch_size=4)
        ),
        lambda: Numpy([(text.encode(), label.encode()) for text, label in pairs()]),
        lambda: Numpy([(np.array([t.encode() for t in TEXTS]), np.array([n.encode() for n in LABELS]))]),
        lambda: Numpy([{"text": np.array(TEXTS, object), "label": np.array(LABELS, object)}]),
    ],
)
def test_every_form_gives_the_same_rows(make: Callable[[], Any], tmp_path: Path) -> None:
    assert written(make(), tmp_path) == ROWS


def test_frames_of_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"text": TEXTS, "label": pandas.Categorical(LABELS)}, index=[7, 7, 5, 3])
    assert written(frame, tmp_path) == ROWS
    assert written((frame["text"], frame["label"]), tmp_path) == ROWS
    missing = pandas.DataFrame({"text": TEXTS, "label": [1.0, float("nan"), 2, 1]})
    assert [row["label"] for row in written(missing, tmp_path)] == [1.0, None, 2.0, 1.0]
    missing["label"] = pandas.array([1, None, 2, 1], dtype="Int64")
    assert [row["label"] for row in written(missing, tmp_path)] == [1, None, 2, 1]
    missing["label"] = pandas.to_datetime(["2024-05-01", None, "2024-05-02", "2024-05-02"])
    assert [row["label"] for row in written(missing, tmp_path)][:2] == ["2024-05-01 00:00:00", None]
    twice = pandas.DataFrame([[text, label, label] for text, label in pairs()], columns=["text", "label", "label"])
    with pytest.raises(DataError, match=r"train \(pandas DataFrame\) has two columns named 'label'\."):
        written(twice, tmp_path)


def test_frames_of_polars(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame({"text": TEXTS, "label": polars.Series(LABELS, dtype=polars.Categorical)})
    assert written(frame, tmp_path) == written(frame.lazy(), tmp_path) == ROWS


def test_data_sets_of_hugging_face_keep_the_names_and_the_order_of_their_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    names = ["wrong", "delivery", "billing"]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    content = {"text": [*TEXTS, *TEXTS], "label": [1, 1, 2, 2] * 2}
    found = datasets.Dataset.from_dict(content, features=features)
    for value in (found, found.with_format("torch"), found.to_iterable_dataset(), found.select([1, 0, 3, 2])):
        path = write_part(value, tmp_path, "train", DataConfig())
        data = load_dataset({"source": str(path), "validation_split": 0.0})
        assert data.classes == tuple(names) and sorted(set(data["train"].targets or ())) == [1, 2]
    parts = parts_in_memory(datasets.DatasetDict(train=found, unsupervised=found, valid=found))
    assert parts is not None and list(parts) == ["train", "validation"]


def test_labels_have_the_form_that_they_have_in_files(tmp_path: Path) -> None:
    labels = [1, 1.0, np.int64(1), torch.tensor(1), "+1", b"1", True, np.bool_(True), "2", 2.0]
    path = write_part((TEXTS[:2] * 5, labels), tmp_path, "train", DataConfig())
    data = load_dataset({"source": str(path), "validation_split": 0.0})
    assert data.classes == ("1", "2", "true")
    assert data["train"].targets == [0, 0, 0, 0, 0, 0, 2, 2, 1, 1]


def test_names_of_the_columns_are_those_of_the_settings(tmp_path: Path) -> None:
    assert written((["a"], [1]), tmp_path, text="body", label="stars") == [{"body": "a", "stars": 1}]
    assert written(["a"], tmp_path, text=("title", "body")) == [{"text": "a"}]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"text": ["a", "b"], "label": ["x"]}, "the columns have different lengths: {'text': 2, 'label': 1}"),
        ({"text": "a", "label": "b"}, r"the value of 'text' must be a list .*Write one record as \[{...}\]"),
        ({1: ["a"], "1": ["b"]}, "two columns of one name: 1, '1'"),
        ((["a", "b"], ["x"]), "there are 2 texts, but 1 labels"),
        ((["a"], ["b"], ["x"]), r"a tuple must be \(texts, labels\)"),
        ([["a", "b"], ["x", "y"]], r"item 1: expected a record .*write \(texts, labels\)"),
        (np.array([["a", "x"]]), "an array must have one dimension"),
        ({"a", "b"}, "train .set. must be a frame"),
        (b"a", "train .bytes. must be a frame"),
        (3, r"train \(int\) must be a frame .*Received: 3"),
        ([], r"train \(list\) has no rows"),
        (pyarrow.table({"text": []}), "has no rows"),
        ({"train": ROWS, "test": ROWS}, "holds the parts train, test"),
        (pyarrow.table([["a"], ["b"]], names=["text", "text"]), "two columns named 'text'"),
    ],
)
def test_other_values_are_refused(value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        write_part(value, tmp_path, "train", DataConfig())
    assert "\n" not in str(caught.value)


def test_pairs_and_missing_texts(tmp_path: Path) -> None:
    names = {"sentence1": "late parcel", "sentence2": "wrong invoice", "label": "delivery"}
    assert written(((TEXTS, tuple(TEXTS[::-1])), LABELS), tmp_path)[0] == names
    assert list(written(((TEXTS, TEXTS), LABELS), tmp_path, text=("a", "b"))[0]) == ["a", "b", "label"]
    assert written(["late", None, float("nan")], tmp_path) == [{"text": "late"}, {"text": None}, {"text": None}]


def test_values_that_a_file_cannot_hold_are_left_out_with_a_notice(tmp_path: Path) -> None:
    rows = [{"text": "a", "picture": object()}]
    with pytest.warns(Notice, match=r"values of 'picture' \(object\) are neither .* They are left out\."):
        assert written(rows, tmp_path) == [{"text": "a"}]
    with pytest.raises(DataError, match="Convert them, or name another column"):
        written(rows, tmp_path, label="picture")


def test_plain_values() -> None:
    assert plain_value(np.datetime64("2024-01-02T03:04:05", "ns")) == "2024-01-02 03:04:05"
    assert plain_value(datetime.date(2024, 1, 2)) == "2024-01-02"
    assert plain_value({"a": [np.float32(0.5), np.float64("nan")]}) == {"a": [0.5, None]}
    assert plain_value(torch.ones(2)) == [1.0, 1.0]
    with pytest.raises(NotWritableError):
        plain_value(b"\xff")


def test_parts() -> None:
    assert parts_in_memory({"train": ROWS, "dev": ROWS}) == {"train": ROWS, "validation": ROWS}
    assert parts_in_memory({"text": TEXTS, "test": LABELS}) is None
    assert parts_in_memory(ROWS) is None
    with pytest.raises(DataError, match="Two keys name the validation part"):
        parts_in_memory({"train": ROWS, "dev": ROWS, "val": ROWS})
