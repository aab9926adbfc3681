"""Numbers to predict: every format, one line for each wrong value, exact copies."""

import decimal
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kerora.data import tfds_source
from kerora.data.numbers import NumberReader, NumberRows, Scale, number_problem
from kerora.data.rows import Dataset
from kerora.data.save import save_dataset
from kerora.data.sources import load_dataset, load_splits
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

VALUES = [0.1, 1e-8, 2.5, -3.25, 1 / 3, 7, 123456.789, 0.30000000000000004, 4.0, 5.5]


def load(**settings: Any) -> Dataset[NumberRows]:
    return load_splits(DataConfig(**{"validation_split": 0.0, **settings}), NumberReader())


def write(path: Path, labels: list[Any], header: str = "text,label") -> str:
    path.write_text("\n".join([header, *(f"text {n},{label}" for n, label in enumerate(labels))]) + "\n", "utf-8")
    return str(path)


def test_numbers_of_every_format_are_the_same(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": [f"text {n}" for n in range(10)], "label": VALUES})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True, double_precision=15)
    (tmp_path / "b.jsonl").write_text(
        "\n".join(json.dumps({"text": f"text {n}", "label": repr(value)}) for n, value in enumerate(VALUES))
    )
    wanted = [(float(value),) for value in VALUES]
    for name in ("a.csv", "a.parquet", "b.jsonl"):
        assert load(source=str(tmp_path / name))["train"].targets == wanted, name
    assert np.allclose(load(source=str(tmp_path / "a.jsonl"))["train"].targets, wanted, rtol=1e-12)


def test_several_columns(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ["1,10", "2,30", "4,20"], "text,a,b")
    found = load(source=file, label=("b", "a"))
    assert found.classes == ("b", "a") and found["train"].targets == [(10, 1), (30, 2), (20, 4)]
    assert found.fingerprints()["train"]["labels"] == {}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1,5", "has '1,5' in 'y': write a decimal point, such as 1.5"),
        ("nan", "has 'nan' in 'y', which is not finite"),
        ("-inf", "has '-inf' in 'y', which is not finite"),
        ("1e999", "has '1e999' in 'y', which is not finite"),
        (float("inf"), "has 'inf' in 'y', which is not finite"),
        ("good", "has 'good' in 'y', which is no number"),
        ("1_000", "has '1_000' in 'y', which is no number"),
        (True, "has true in 'y', which is no number"),
        ("False", "has false in 'y', which is no number"),
        ([1.0], "has [1.0] in 'y', which is no number: name a column for each number"),
        ("3.5", None),
        (" +.5e-3 ", None),
        (7, None),
        (np.float32(2.5), None),
        (decimal.Decimal("1.25"), None),
        (b"2.5", None),
    ],
)
def test_what_is_a_number(value: Any, problem: str | None) -> None:
    assert number_problem(value, "y") == problem


@pytest.mark.parametrize("value", ['"1,5"', "NaN", "inf", "", "good", "true"])
def test_a_wrong_number_is_named_with_its_row(value: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", [1, 2, value, 3])
    with pytest.raises(DataError, match=r"1 row cannot be used: row 3 \(line 4\) has .*--skip-bad-rows"):
        load(source=file)
    assert len(load(source=file, skip_bad_rows=True)["train"]) == 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3, 3.0, "3"], "all 3 training rows have the number 3 in 'label'"),
        ([1e300, 2e300], "too large for float32"),
        ([20260000, 20260001, 20260000], "Subtract 2.026e\\+07"),
    ],
)
def test_numbers_that_cannot_be_learned(labels: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(source=write(tmp_path / "a.csv", labels))


def test_columns_and_settings_that_do_not_fit(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", [1, 2, 3])
    with pytest.raises(DataError, match="names the column 'label' twice"):
        load(source=file, label=("label", "label"))
    with pytest.raises(DataError, match="--class-names names classes"):
        load(source=file, class_names=("a", "b", "c"))


def test_a_saved_copy_is_exact(tmp_path: Path) -> None:
    for name, labels, columns in (
        ("one", [f"{value!r},0" for value in VALUES], ("a",)),
        ("two", [f"{value!r},{-value!r}" for value in VALUES], ("a", "id")),
    ):
        file = write(tmp_path / f"{name}.csv", labels, "text,a,id")
        found = load(source=file, label=columns, validation_split=0.2)
        save_dataset(found, tmp_path / name)
        again = load(source=str(tmp_path / name))
        assert again.classes == columns and again["train"].targets == found["train"].targets
        assert again.fingerprints() == found.fingerprints()
        line = json.loads((tmp_path / name / "train.jsonl").read_text().splitlines()[0])
        assert isinstance(line["label"], float if len(columns) == 1 else list)
    with pytest.raises(DataError, match="holds numbers to predict, and not classes. Add --task regression"):
        load_dataset(str(tmp_path / "one"))
    with (tmp_path / "one" / "train.jsonl").open("a") as stream:
        stream.write('{"id": "x", "text": "more", "label": 1.0}\n')
    with pytest.raises(DataError, match="differs from what was saved"):
        load(source=str(tmp_path / "one"))


def test_a_saved_copy_of_classes_is_refused(tmp_path: Path) -> None:
    save_dataset(load_dataset("tickets"), tmp_path / "classes")
    with pytest.raises(DataError, match="holds classes, and not numbers to predict"):
        load(source=str(tmp_path / "classes"))


def test_splits_and_subsets_are_random_samples(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", [n / 10 for n in range(100)])
    found = load(source=file, validation_split=0.2, test_split=0.1, subset=15)
    assert [len(rows) for _, rows in found] == [15, 15, 10]
    ids = [identifier for _, rows in found for identifier in rows.ids]
    assert len(set(ids)) == len(ids)
    assert all(isinstance(rows, NumberRows) for _, rows in found)


def test_unlabelled_test_rows_are_kept_for_a_submission(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.csv", [1.5, 2, 3]), tmp_path / "b.csv"
    test.write_text("text\nnew text\n", "utf-8")
    found = load(train=train, test=str(test))
    assert "test" not in found.splits and found.unlabelled is not None and len(found.unlabelled) == 1


def test_a_test_part_of_minus_ones_hides_its_numbers(tmp_path: Path) -> None:
    train, test = write(tmp_path / "a.csv", [1.5, 2, 3]), write(tmp_path / "b.csv", [-1, -1.0])
    with pytest.warns(UserWarning, match="all numbers are -1|has no labels"):
        found = load(train=train, test=test)
    assert found.unlabelled is not None and found.unlabelled.targets is None
    with_minus = write(tmp_path / "c.csv", [-1, 2, 3])
    assert load(train=with_minus, test=test)["test"].targets == [(-1.0,), (-1.0,)]
    assert NumberReader().label_column(("text", "label"), DataConfig(), "x") is None, "-1 is a number in TFDS too"


def test_many_decimals_as_classes_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="add --task regression"):
        load_dataset(write(tmp_path / "a.csv", [n / 10 for n in range(20)]))
    with pytest.raises(DataError, match="add --task regression"):
        load_dataset(write(tmp_path / "a.csv", [1.5, 1.5, 2.5, 2.5, 2.5, 3.75]))
    with pytest.raises(DataError) as error:
        load_dataset(write(tmp_path / "a.csv", list(range(20))))
    assert "regression" not in str(error.value), "integers stay classes"


def test_the_scale_is_that_of_the_population_in_float64() -> None:
    values = np.random.default_rng(0).normal(1e6, 3, (50, 2))
    scale = Scale.of(values)
    assert np.allclose(scale.mean, values.mean(0), rtol=1e-15)
    assert np.allclose(scale.deviation, values.std(0), rtol=1e-12)
    off = Scale.of(values, centred=False)
    assert off.mean == (0.0, 0.0) and np.allclose(off.deviation, np.sqrt((values**2).mean(0)))
    assert Scale.of(np.ones((3, 1))).deviation == (1.0,) and Scale.plain(2).is_plain


def test_a_tfds_set_with_a_float_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of glue/stsb: pairs, float labels, a test part whose labels are all -1."""
    parts = {"train": [0.25, -1.0, 5.0], "validation": [2.5], "test": [-1.0, -1.0]}

    def examples(split: str) -> list[dict[str, Any]]:
        pair = {"sentence1": b"one", "sentence2": b"two"}
        return [{**pair, "label": np.float32(value), "idx": np.int32(n)} for n, value in enumerate(parts[split])]

    info = SimpleNamespace(
        features={"sentence1": None, "sentence2": None, "label": None, "idx": None},
        splits={name: SimpleNamespace(num_examples=len(values)) for name, values in parts.items()},
        file_format=SimpleNamespace(value="array_record"),
    )
    builder = SimpleNamespace(info=info, data_dir="here", is_prepared=lambda: True, as_data_source=examples)
    monkeypatch.setattr(tfds_source, "_builder", lambda *_, **__: builder)
    found = load(source="glue/stsb")
    assert found["train"].targets == [(0.25,), (-1.0,), (5.0,)], "-1 is a number here"
    assert found["train"].pairs is not None and found["validation"].targets == [(2.5,)]
    assert found["test"].targets == [(-1.0,), (-1.0,)], "a training row has -1, so the test rows can have it too"
    parts["train"] = [0.25, 1.0, 5.0]
    with pytest.warns(UserWarning, match="has no labels"):
        hidden = load(source="glue/stsb")
    assert "test" not in hidden.splits and hidden.unlabelled is not None and len(hidden.unlabelled) == 2
