"""The canonical form of labels, and labels that are lists."""

import datetime
import decimal
import json
from pathlib import Path

import numpy as np
import pytest

from kerora.config import DataConfig
from kerora.data.labels import is_list, label_of
from kerora.data.sources import load_dataset
from kerora.errors import DataError


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("+1", "1"),
        ("-1.00", "-1"),
        ("-0.0", "0"),
        (decimal.Decimal("2.0"), "2"),
        (np.int64(3), "3"),
        (np.float32(3), "3"),
        (1.5, "1.5"),
        ("1.5", "1.5"),
        (True, "true"),
        ("TRUE", "true"),
        (np.False_, "false"),
        (" spam ", "spam"),
        (b"caf\xc3\xa9", "café"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        # codes and versions are no numbers
        ("01", "01"),
        ("3.10", "3.10"),
        ("1.", "1."),
        ("9" * 400, "9" * 400),
    ],
)
def test_one_form(value, label):
    assert label_of(value) == label


@pytest.mark.parametrize("value", [[1], {"a": 1}, float("inf"), b"\xff", object()])
def test_other_types_are_no_labels(value):
    assert label_of(value) is None


@pytest.mark.parametrize(
    "value", [[0, 1], np.array([1]), "[0, 1, 0]", "['a']", '["a", "b"]', "[1 0 1]", "{}", "(a, b)"]
)
def test_lists(value):
    assert is_list(value)


@pytest.mark.parametrize("value", ["[OTHER]", "a,b", "(none)", "x[1]", 3])
def test_no_lists(value):
    assert not is_list(value)


def write(folder: Path, name: str, labels: list) -> Path:
    path = folder / name
    rows = [{"text": f"text {number}", "label": label} for number, label in enumerate(labels)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_text("text,label\n" + "".join(f'{row["text"]},"{row["label"]}"\n' for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("labels", [[True, False], [0.0, 1.0], [0, 1], [1.5, 2.25], ["a", "b "]])
def test_a_label_is_the_same_in_every_format(tmp_path, labels):
    paths = [write(tmp_path, name, labels * 6) for name in ("train.csv", "test.jsonl")]
    for train, test in (paths, paths[::-1]):
        dataset = load_dataset(DataConfig(train=str(train), test=str(test)))
        assert dataset["test"].targets == [int(np.argsort(np.argsort(labels))[place]) for place in (0, 1)] * 6
        assert dataset.classes == tuple(label_of(label) for label in sorted(labels))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
@pytest.mark.parametrize("label", [[0, 1, 0], ["x", "y"]])
def test_a_list_as_a_label_is_refused_with_its_row(tmp_path, name, label):
    path = write(tmp_path, name, ["x", "y", label])
    with pytest.raises(DataError, match=r"row 3 \(line \d\), column 'label': the label .* is a list, but a classifier"):
        load_dataset(str(path))
