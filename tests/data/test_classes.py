import pytest

from kerora.config import DataConfig
from kerora.data.classes import choose_classes, numbered, numbers_for_run, ordered
from kerora.data.extract import LabelledRows, Record
from kerora.data.rows import Rows
from kerora.errors import DataError


def part(*names, classes=None):
    rows = LabelledRows("f.csv", Rows([], []), classes=classes)
    for number, name in enumerate(names, 1):
        rows.append(Record(str(number), "text", None, number), name, f"row {number}")
    return rows


def test_integers_are_sorted_by_value_and_others_by_letters():
    assert ordered(["10", "9", "-1"]) == ("-1", "9", "10")
    assert ordered(["10", "9", "b", "a"]) == ("10", "9", "a", "b")
    assert ordered(["true", "false"]) == ("false", "true")


def test_class_names_name_integers_in_their_order():
    names, numbers = choose_classes(part("10", "2", "10"), DataConfig(class_names="low,high"))
    assert names == ("low", "high")
    assert numbers == {"2": 0, "10": 1}


def test_known_classes_keep_their_order_also_without_rows():
    names, numbers = choose_classes(part("b", "c", "b", "c", classes=("c", "a", "b")), DataConfig())
    assert names == ("c", "a", "b")
    assert numbers == {"c": 0, "a": 1, "b": 2}


def test_class_names_that_are_the_labels_give_their_order():
    names, numbers = choose_classes(part("pos", "neg", "pos"), DataConfig(class_names="pos,neg"))
    assert names == ("pos", "neg")
    assert numbers == {"pos": 0, "neg": 1}


@pytest.mark.parametrize(
    ("rows", "config", "message"),
    [
        (part("a", "a"), DataConfig(), "f.csv: all rows have the label 'a'"),
        (part("a", "b", "c"), DataConfig(), "3 rows are too few for 3 classes"),
        (part("a", "b", "b", classes=tuple("abcdef")), DataConfig(), "3 rows are too few for 6 classes"),
        (part("a", "b", "b"), DataConfig(class_names="x,y"), "names integer labels, but the labels are a, b"),
        (part("1", "2", "2"), DataConfig(class_names="x,y,z"), r"3 names \(x, y, z\) for 2 labels \(1, 2\)"),
        (part("1", "2", "2"), DataConfig(class_names="x,x"), "one different name for each"),
    ],
)
def test_unusable_classes(rows, config, message):
    with pytest.raises(DataError, match=message):
        choose_classes(rows, config)


def test_an_unknown_label_is_named_with_its_row_and_the_known_ones():
    with pytest.raises(
        DataError, match=r"f.csv, row 2: label 'spm' .* the run, which has ham, spam. Did you mean 'spam'"
    ):
        numbered(part("ham", "spm"), {"ham": 0, "spam": 1}, "the run")


def test_labels_are_matched_with_a_run_by_name():
    rows = part("b", "a")
    assert numbered(rows, numbers_for_run(rows, ("a", "b", "c"), DataConfig()), "the run").targets == [1, 0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("1", "2", "3"), [0, 1, 2]),
        (("3", "1"), [2, 0]),
        (("0", "1"), [0, 1]),
        (("5", "6", "9"), [0, 1, 2]),
        (("b", "c"), [1, 2]),
    ],
)
def test_integers_are_matched_with_the_names_a_run_gave_them(labels, expected):
    rows, config = part(*labels), DataConfig(class_names="a,b,c")
    assert numbered(rows, numbers_for_run(rows, ("a", "b", "c"), config), "the run").targets == expected


def test_known_classes_are_matched_with_the_names_a_run_gave_them():
    rows, config = part("pos", "pos", classes=("neg", "pos")), DataConfig(class_names="bad,good")
    assert numbered(rows, numbers_for_run(rows, ("bad", "good"), config), "the run").targets == [1, 1]


def test_ambiguous_integers_are_refused():
    rows = part("1", "2")
    with pytest.raises(DataError, match="cannot tell which classes the labels 1, 2 are"):
        numbers_for_run(rows, ("a", "b", "c"), DataConfig(class_names="a,b,c"))
