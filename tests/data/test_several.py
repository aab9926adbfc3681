"""Rows with several labels: every form, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from kerora.cli.main import run as kerora_command
from kerora.data.classes import ClassLabels
from kerora.data.label_forms import several_labels_reason
from kerora.data.label_sets import is_set
from kerora.data.rows import Dataset
from kerora.data.save import save_dataset
from kerora.data.several import LabelSetReader, sets_for_run
from kerora.data.sources import load_splits, read_part
from kerora.errors import DataError
from kerora.notices import Notice
from kerora.settings.fit import DataConfig

SETS = [["b", "a"], [], ["c"], ["a"], ["b", "c"], ["a"]]
NUMBERS = [(0, 1), (), (2,), (0,), (1, 2), (0,)]


def written(tmp_path: Path, name: str, lines: list[str]) -> str:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def loaded(path: str, **settings: Any) -> Dataset:
    config = DataConfig(train=path, validation_split=0, **settings)
    return load_splits(config, LabelSetReader(config.label_separator))


def table(labels: list[str], name: str = "labels") -> list[str]:
    return [f"text,{name}", *(f'row {number},"{label}"' for number, label in enumerate(labels))]


FORMS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "lists": ("rows.jsonl", [json.dumps({"text": f"row {n}", "labels": row}) for n, row in enumerate(SETS)], {}),
    "JSON text": ("rows.csv", table([json.dumps(row).replace('"', '""') for row in SETS]), {}),
    "Python text": ("rows.csv", table([str(row) for row in SETS]), {}),
    "separator": ("rows.csv", table(["|".join(row) for row in SETS]), {"label_separator": "|"}),
    "spaces": ("rows.csv", table([" ; ".join(row) for row in SETS]), {"label_separator": ";"}),
    "columns": (
        "rows.csv",
        ["text,a,b,c", *(f"row {n},{','.join(str(int(x in row)) for x in 'abc')}" for n, row in enumerate(SETS))],
        {"label": ("a", "b", "c")},
    ),
    "fastText": (
        "rows.txt",
        [" ".join([*(f"__label__{x}" for x in row), f"row {n}"]) for n, row in enumerate(SETS)],
        {"format": "fasttext"},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(form: str, tmp_path: Path) -> None:
    name, lines, settings = FORMS[form]
    path = written(tmp_path, name, lines)
    found = loaded(path, **settings)
    assert found.classes == ("a", "b", "c") and found["train"].targets == NUMBERS
    assert list(found["train"].texts) == [f"row {number}" for number in range(6)]
    assert several_labels_reason(DataConfig(train=path, **settings))
    assert found.fingerprints()["train"]["labels"] == {"a": 3, "b": 2, "c": 2}
    # a run reads the same file with its own classes
    config = DataConfig(**settings)
    part = read_part(path, config, LabelSetReader(config.label_separator), "test")
    assert sets_for_run(part, ClassLabels(("a", "b", "c"), ("a", "b", "c")), config).targets == NUMBERS


@pytest.mark.parametrize(
    "values", [("true", "false"), ("True", "False"), ("1.0", "0.0"), (" 1 ", "0")], ids=lambda pair: pair[0]
)
def test_columns_of_zero_and_one_in_other_spellings(values: tuple[str, str], tmp_path: Path) -> None:
    lines = ["text,a,b", f"x,{values[0]},{values[1]}", f"y,{values[1]},{values[0]}", f"z,{values[1]},{values[1]}"]
    found = loaded(written(tmp_path, "rows.csv", lines), label=("a", "b"), class_names=("first", "second"))
    assert found["train"].targets == [(0,), (1,), ()] and found.classes == ("first", "second")
    assert found.values == ("a", "b")


def test_a_matrix_in_lists_and_its_notice(tmp_path: Path) -> None:
    rows = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    path = written(tmp_path, "rows.jsonl", [json.dumps({"text": f"row {n}", "y": row}) for n, row in enumerate(rows)])
    with pytest.warns(Notice, match="read as the rows of a matrix"):
        found = loaded(path, class_names=("a", "b", "c"))
    assert found["train"].targets == [(0, 2), (), (1,)] and found.classes == ("a", "b", "c")
    assert found.values == ("0", "1", "2")


def test_class_numbers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    rows = [[10, 9], [2], [10, 2, 2]]
    path = written(
        tmp_path, "rows.jsonl", [json.dumps({"text": f"row {n}", "labels": row}) for n, row in enumerate(rows)]
    )
    found = loaded(path)
    assert found.classes == ("2", "9", "10") and found["train"].targets == [(1, 2), (0,), (0, 2)]
    assert loaded(path, class_names=("two", "nine", "ten")).classes == ("two", "nine", "ten")


def test_saved_rows_are_read_back(tmp_path: Path) -> None:
    name, lines, settings = FORMS["lists"]
    found = loaded(written(tmp_path, name, lines), **settings)
    save_dataset(found, tmp_path / "saved")
    assert json.loads((tmp_path / "saved/dataset.json").read_text(encoding="utf-8"))["form"] == "labels"
    config = DataConfig(source=str(tmp_path / "saved"), validation_split=0)
    again = load_splits(config, LabelSetReader())
    assert again["train"].targets == NUMBERS and again.classes == found.classes
    assert again.fingerprints() == found.fingerprints()
    assert several_labels_reason(config) == "it was saved with several labels"
    assert kerora_command(["data", "show", str(tmp_path / "saved"), "--task", "classification"]) == 2


def test_parquet_keeps_the_names_of_a_list_of_classes(tmp_path: Path) -> None:
    for feature in (
        [{"names": ["z", "y", "x"], "_type": "ClassLabel"}],
        {"feature": {"names": ["z", "y", "x"], "_type": "ClassLabel"}, "_type": "List"},
    ):
        features = {"text": {"dtype": "string", "_type": "Value"}, "labels": feature}
        rows = pyarrow.table({"text": ["p", "q", "r"], "labels": [[0, 2], [], [1]]})
        rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pyarrow.parquet.write_table(rows, tmp_path / "rows.parquet")
        found = loaded(str(tmp_path / "rows.parquet"))
        assert found.classes == ("z", "y", "x") and found["train"].targets == [(0, 2), (), (1,)]


def test_a_test_part_without_labels_is_predicted(tmp_path: Path) -> None:
    train = written(tmp_path, "train.csv", table(["a|b", "b", "a"]))
    for lines in (table(["", ""]), ["text", "p", "q"]):
        config = DataConfig(train=train, test=written(tmp_path, "test.csv", lines), validation_split=0,
                            label_separator="|")  # fmt: skip
        with pytest.warns(Notice, match="has no labels"):
            found = load_splits(config, LabelSetReader("|"))
        assert found.unlabelled is not None and len(found.unlabelled) == 2 and "test" not in found.splits


@pytest.mark.parametrize(
    "value", ["plain", "[OTHER]", "(other)", "{x}", '{"a": 1}', 3, None, "", "a, b", {"a": 1}], ids=str
)
def test_what_is_no_list(value: Any) -> None:
    assert not is_set(value)


PLAIN = ["a", "b", "a", "b"]
REFUSED: dict[str, tuple[list[str], list[str], str]] = {
    "mixed": (table(['[""a""]', "b", '[""b""]']), [], "the label b is plain text, but earlier rows hold a list"),
    "mixed, other way": (table(["a", '[""b""]']), ["--task", "multi-label"], "is a list, but earlier rows hold plain"),
    "unreadable": (table(['[""a"", ""b""]', "[0 1 0]"]), [], "has a list that cannot be read in 'labels'"),
    "missing": (table(['[""a""]', ""]), [], "has no value in 'labels' (no labels are written [])"),
    "null in a list": (table(['[""a""]', "[null]"]), [], "something other than names in 'labels'"),
    "nested": (table(['[""a""]', "[[1]]"]), [], "something other than names in 'labels'"),
    "empty between": (table(["a|b", "a||b"]), ["--label-separator", "|"], "empty label between separators"),
    "within a name": (table(['[""a|b""]', '[""a""]']), ["--label-separator", "|"], "the separator '|' within a name"),
    "class name": (
        table(["1|2", "2"]),
        ["--label-separator", "|", "--class-names", "x|y,z"],
        "'x|y' in class_names holds the separator '|'",
    ),
    "a question": (table(["a;b", "a", "b"]), ["--task", "multi-label"], "Divide it with --label-separator ';'"),
    "other values": (
        ["text,a,b", "x,1,0", "y,0,1", "z,2,1"],
        ["--label", "a,b"],
        "has a value other than 0 and 1 in 'a': '2'",
    ),
    "missing value": (["text,a,b", "x,1,0", "y,0,1", "z,,1"], ["--label", "a,b"], "has no value in 'a'"),
    "no positive": (["text,a,b", "x,1,0", "y,0,0"], ["--label", "a,b"], "the column 'b' holds no 1"),
    "separator of columns": (
        ["text,a,b", "x,1,0", "y,0,1"],
        ["--label", "a,b", "--label-separator", "|"],
        "columns of 0 and 1, which have no --label-separator",
    ),
    "one label": (table(['[""a""]', "[]"]), [], "This task needs at least two labels"),
    "subset": (table(["a|b", "b", "a"]), ["--label-separator", "|", "--subset", "1"], "fewer rows than the 2 classes"),
    "separator, one class": (
        table(PLAIN),
        ["--label-separator", "|", "--task", "classification"],
        "--label-separator is for rows with several labels",
    ),
    "blank separator": (table(PLAIN), ["--label-separator", " "], "must be text other than blanks"),
    "too few": (table(["a|b", "b", "b", "b"]), ["--label-separator", "|"], "class 'a' has 1 row, too few to split"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line_and_exit_2(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, options, message = REFUSED[name]
    path = written(tmp_path, "rows.csv", lines)
    split = [] if name == "too few" else ["--validation-split", "0"]
    assert kerora_command(["data", "show", path, *split, *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and message in errors[0], errors


def test_a_label_that_the_training_rows_lack(tmp_path: Path) -> None:
    train = written(tmp_path, "train.csv", table(["anger|joy", "joy", "anger"]))
    other = written(tmp_path, "validation.csv", table(["joy", "angr"]))
    config = DataConfig(train=train, validation=other, label_separator="|")
    with pytest.raises(DataError, match="row 2 .*label 'angr' does not occur in the training rows.*anger"):
        load_splits(config, LabelSetReader("|"))


def test_other_data_is_not_taken_for_several_labels(tmp_path: Path) -> None:
    plain = written(tmp_path, "plain.csv", table(["a", "[OTHER]", "b"]))
    scores = written(tmp_path, "scores.csv", ["text,a,b", "x,0.3,1", "y,2,0.1"])
    for config in (
        DataConfig(),
        DataConfig(train=plain),
        DataConfig(train=scores, label=("a", "b")),
        DataConfig(train=str(tmp_path / "missing.csv")),
    ):
        assert several_labels_reason(config) == ""
