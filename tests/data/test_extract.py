import pytest

from kerora.config import DataConfig
from kerora.data.extract import read_records
from kerora.data.labelled import LabelledReader
from kerora.data.table import RawRow, Table
from kerora.errors import DataError

read_labelled = LabelledReader().table


def table(*rows, columns=("text", "label"), class_names=None):
    values = [dict(zip(columns, row, strict=False)) for row in rows]
    raw = (RawRow(number, number + 1, value) for number, value in enumerate(values, 1))
    return Table("f.csv", columns, raw, class_names or {})


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("pos", "pos"),
        (" pos ", "pos"),
        (3, "3"),
        (3.0, "3"),
        (True, "true"),
        (False, "false"),
        ("07", "07"),
        (0.5, "0.5"),
        (b"a", "a"),
    ],
)
def test_labels_become_text(label, name):
    assert read_labelled(table(("a", label)), DataConfig()).rows.targets == [name]


def test_known_class_names_replace_integers():
    part = read_labelled(table(("a", 1), ("b", 0), class_names={"label": ("no", "yes")}), DataConfig())
    assert part.rows.targets == ["yes", "no"]
    assert part.classes == ("no", "yes")


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (float("inf"), "a label must be .* Received: inf"),
        (b"\xff", "a label must be .* Received"),
        (["a"], r"the label \['a'\] is a list"),
        ({"a": 1, "b": 2}, "the label .* is an object.* Name its field, --label label.a or --label label.b"),
    ],
)
def test_other_labels_are_refused(label, reason):
    with pytest.raises(DataError, match=rf"f.csv, row 1 \(line 2\), column 'label': {reason}"):
        read_labelled(table(("a", label)), DataConfig())


BAD = [
    (("", 1), "has an empty text in 'text'"),
    ((" \n", 1), "has an empty text in 'text'"),
    ((None, 1), "has no text in 'text'"),
    ((float("nan"), 1), "has no text in 'text'"),
    ((7, 1), r"has non-string text in 'text': 7 \(int\)"),
    (("\ud800", 1), "has an unpaired surrogate in 'text'"),
    (("a", None), "has no label in 'label'"),
    (("a", ""), "has no label in 'label'"),
    (("a", float("nan")), "has no label in 'label'"),
    (("a",), "has no label in 'label'"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_bad_rows_are_named_or_skipped(row, message):
    with pytest.raises(DataError, match=rf"f.csv: 1 row cannot be used: row 2 \(line 3\) {message}.*--skip-bad-rows"):
        read_labelled(table(("fine", 1), row), DataConfig())
    part = read_labelled(table(("fine", 1), row, ("good", 0)), DataConfig(skip_bad_rows=True))
    assert (part.rows.texts, part.rows.ids, part.skipped) == (["fine", "good"], ["1", "3"], 1)


def test_five_bad_rows_are_named_and_all_are_counted():
    with pytest.raises(DataError) as error:
        read_labelled(table(*[("", 1)] * 8), DataConfig())
    assert str(error.value).count("(line") == 5
    assert "8 rows" in str(error.value)
    assert "3 more" in str(error.value)


def test_no_row_left_is_an_error():
    with pytest.raises(DataError, match=r"no usable row is left of 2"):
        read_labelled(table(("", 1), ("", 0)), DataConfig(skip_bad_rows=True))


def test_joined_texts_have_one_space_and_may_lack_a_part():
    columns = ("title", "description", "label")
    rows = ((" a ", " b", 1), ("c", None, 1), ("", "d", 0))
    assert read_labelled(table(*rows, columns=columns), DataConfig()).rows.texts == ["a b", "c", "d"]
    with pytest.raises(DataError, match=r"row 1 .* has no text in 'title'"):
        read_labelled(table((None, "", 1), columns=columns), DataConfig())
    with pytest.raises(DataError, match=r"non-string text in 'description'"):
        read_labelled(table(("a", 4, 1), columns=columns), DataConfig())


def test_both_parts_of_a_pair_are_needed():
    columns = ("premise", "hypothesis", "label")
    part = read_labelled(table(("a", "b", 1), columns=columns), DataConfig())
    assert (part.rows.texts, part.rows.pairs) == (["a"], ["b"])
    with pytest.raises(DataError, match=r"empty text in 'hypothesis'"):
        read_labelled(table(("a", " ", 1), columns=columns), DataConfig())


def test_ids_come_from_the_column_or_the_row_number():
    columns = ("id", "text", "label")
    part = read_labelled(table((7, "a", 1), (None, "b", 0), ("x", "c", 0), columns=columns), DataConfig())
    assert part.rows.ids == ["7", "2", "x"]


def test_records_stream_without_labels():
    rows = read_records(table(("a", 1), ("", 1), ("b", None)), DataConfig())
    assert next(rows).text == "a"
    with pytest.raises(DataError, match=r"row 2 \(line 3\) has an empty text"):
        next(rows)
    kept = list(read_records(table(("a", 1), ("", 1), ("b", None)), DataConfig(skip_bad_rows=True)))
    assert [(record.id, record.text, record.row_number) for record in kept] == [("1", "a", 1), ("3", "b", 3)]
