import pytest

from kerora.config import DataConfig
from kerora.data.classes import ClassLabels, choose_classes, numbered, numbers_for_run, ordered, original_values
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


def matched(rows, names, values=(), class_names=""):
    config = DataConfig(class_names=class_names)
    return numbered(rows, numbers_for_run(rows, ClassLabels(names, values), config), "the run").targets


def test_labels_are_matched_with_a_run_by_name():
    assert matched(part("b", "a"), ("a", "b", "c")) == [1, 0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("1", "2", "3"), [0, 1, 2]),
        (("5", "6", "9"), [0, 1, 2]),
        (("b", "c"), [1, 2]),
    ],
)
def test_all_integers_are_matched_by_order_with_an_older_run(labels, expected):
    assert matched(part(*labels), ("a", "b", "c"), class_names="a,b,c") == expected


def test_known_classes_are_matched_with_the_names_an_older_run_gave_them():
    rows = part("pos", "pos", classes=("neg", "pos"))
    assert matched(rows, ("bad", "good"), class_names="bad,good") == [1, 1]


@pytest.mark.parametrize("labels", [("1", "2"), ("0", "1"), ("3", "1")])
def test_some_integers_are_refused_by_an_older_run(labels):
    with pytest.raises(DataError, match="cannot tell which classes the labels .* are. .* an older version"):
        matched(part(*labels), ("a", "b", "c"), class_names="a,b,c")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("4", "0"), [2, 0]),
        (("0", "2"), [0, 1]),
        (("up", "2"), [2, 1]),
        (("down",), [0]),
    ],
)
def test_labels_are_matched_by_value_or_name(labels, expected):
    assert matched(part(*labels), ("down", "flat", "up"), ("0", "2", "4"), "down,flat,up") == expected


def test_unknown_values_are_refused_by_name():
    with pytest.raises(DataError, match=r"row 2: label '1' does not occur in the run, which has down \(0\), up \(5\)"):
        rows = part("0", "1")
        labels = ClassLabels(("down", "up"), ("0", "5"))
        numbered(rows, numbers_for_run(rows, labels, DataConfig()), "the run", labels.described())


def test_names_that_are_values_of_other_classes():
    names, values = ("1", "2", "3"), ("0", "1", "2")
    assert matched(part("1", "2", "3"), names, values) == [0, 1, 2]
    assert matched(part("2", "0", "1"), names, values) == [2, 0, 1]
    with pytest.raises(DataError, match="label '1' is the class '2' .* also the name of another class"):
        matched(part("1", "2"), names, values)


def test_original_values_survive_a_renaming():
    rows = part("4", "0", "4")
    _, numbers = choose_classes(rows, DataConfig(class_names="low,high"))
    assert original_values(rows, numbers) == ("0", "4")
    saved = part("low", "high", "low", classes=("low", "high"))
    saved.values = ("0", "4")
    _, numbers = choose_classes(saved, DataConfig(class_names="high,low"))
    assert original_values(saved, numbers) == ("4", "0")


@pytest.mark.parametrize(
    "labels",
    [("a", "b", "a,b"), ("x;y", "y;z", "x;z"), ("red|blue", "blue|red", "red|red"), ("1,0,1", "0,0,1"), ("0 1", "1 1")],
)
def test_several_labels_in_one_are_a_question(labels):
    with pytest.raises(DataError, match="one label, or several labels separated by"):
        choose_classes(part(*labels, *labels), DataConfig())
    names, _ = choose_classes(part(*labels, *labels), DataConfig(class_names=labels))
    assert names == labels


def test_names_with_commas_are_no_lists():
    labels = ("Arts, Music", "Business, Finance", "Oil", "yes/no")
    assert choose_classes(part(*labels, *labels), DataConfig())[0] == labels


def test_names_that_are_the_same_label_are_refused():
    with pytest.raises(DataError, match=r"'1' and '1.0' are the same label"):
        choose_classes(part("1", "2", "2", classes=("1", "1.0", "2")), DataConfig())
