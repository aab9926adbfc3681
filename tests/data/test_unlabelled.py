"""Test parts without labels are kept apart for prediction. Other parts need labels."""

import json
from pathlib import Path

import pytest

from kerora.config import DataConfig
from kerora.data.classes import ClassLabels
from kerora.data.rows import Dataset, Rows
from kerora.data.save import save_dataset
from kerora.data.sources import load_dataset, load_rows
from kerora.errors import DataError
from kerora.notices import Notice


@pytest.fixture
def train(tmp_path: Path) -> str:
    return write(tmp_path / "train.jsonl", [{"id": f"t{n}", "text": f"x {n}", "label": n % 2} for n in range(20)])


def write(path: Path, rows: list) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def loaded(train: str, test: str, **settings) -> Dataset[Rows[int]]:
    with pytest.warns(Notice, match=r"has no labels, so its \d rows are not evaluated. `kerora fit` predicts them"):
        return load_dataset(DataConfig(train=train, test=test, **settings))


@pytest.mark.parametrize(
    "label",
    [{}, {"label": None}, {"label": -1}, {"label": "-1.0"}, {"label": ""}, {"label": float("nan")}, {"other": 3}],
)
def test_a_test_part_without_labels_is_kept_apart(tmp_path: Path, train: str, label: dict) -> None:
    test = write(tmp_path / "test.jsonl", [{"id": f"u{n}", "text": f"y {n}", **label} for n in range(5)])
    dataset = loaded(train, test)
    assert list(dataset.splits) == ["train", "validation"]
    assert (list(dataset.unlabelled.ids), dataset.unlabelled.targets) == ([f"u{n}" for n in range(5)], None)
    # a test part can still be cut
    assert len(loaded(train, test, test_split=0.2)["test"]) == 4
    # and a subset does not shorten what is predicted
    assert len(loaded(train, test, subset=4).unlabelled) == 5
    with pytest.raises(DataError, match=r"test.jsonl has no labels to compare with: .* `kerora predict RUN "):
        load_rows(test, DataConfig(), ClassLabels(("0", "1"), ("0", "1")))
    for part in ("train", "validation"):
        with pytest.raises(DataError, match="label|-1"):
            load_dataset(DataConfig(**{"train": train, part: test}))


def test_minus_one_is_a_label_if_the_training_rows_have_it(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [{"text": f"x {n}", "label": n % 3 - 1} for n in range(30)])
    test = write(tmp_path / "b.jsonl", [{"text": "y", "label": -1}] * 3)
    assert load_dataset(DataConfig(train=train, test=test))["test"].targets == [0, 0, 0]


def test_some_missing_labels_and_damage_stay_errors(tmp_path: Path, train: str) -> None:
    rows = [{"text": "a"}, {"text": "b", "label": 1}, {"text": "c"}]
    with pytest.raises(DataError, match="2 rows cannot be used: row 1 .line 1. has no label"):
        load_dataset(DataConfig(train=train, test=write(tmp_path / "some.jsonl", rows)))
    test = write(tmp_path / "texts.jsonl", [{"text": "a", "label": None}, {"text": " ", "label": None}])
    with pytest.raises(DataError, match="row 2 .line 2. has an empty text"):
        load_dataset(DataConfig(train=train, test=test))
    found = loaded(train, test, skip_bad_rows=True)
    assert (len(found.unlabelled), found.skipped) == (1, {"test": 1})
    (tmp_path / "broken.jsonl").write_text('{"text": "a", "label": null}\n{"text": \n')
    with pytest.raises(DataError, match="line 2. is not valid JSON"):
        load_dataset(DataConfig(train=train, test=str(tmp_path / "broken.jsonl")))


def test_other_text_columns_are_refused(tmp_path: Path, train: str) -> None:
    test = write(tmp_path / "test.jsonl", [{"review": "a", "stars": 1}])
    with pytest.raises(DataError, match="its text would be read from review, but that of .* from text"):
        load_dataset(DataConfig(train=train, test=test))


def test_saved_sets_keep_them(tmp_path: Path, train: str) -> None:
    test = write(tmp_path / "test.jsonl", [{"id": f"u{n}", "text": f"y {n}"} for n in range(5)])
    dataset = loaded(train, test)
    save_dataset(dataset, tmp_path / "saved")
    with pytest.warns(Notice):
        again = load_dataset(str(tmp_path / "saved"))
    assert (again.splits, again.classes) == (dataset.splits, dataset.classes)
    assert list(again.unlabelled.texts) == list(dataset.unlabelled.texts)
    with pytest.warns(Notice, match="5 rows without labels are not saved"):
        save_dataset(loaded(train, test, test_split=0.2), tmp_path / "cut")
