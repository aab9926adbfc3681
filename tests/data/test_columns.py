import pytest

from kerora.config import DataConfig
from kerora.data.columns import find_columns
from kerora.errors import DataError


@pytest.mark.parametrize(
    ("columns", "texts", "label", "paired"),
    [
        (("text", "label"), ("text",), "label", False),
        (("id", "Review", "Sentiment"), ("Review",), "Sentiment", False),
        (("class", "title", "description"), ("title", "description"), "class", False),
        (("idx", "sentence1", "sentence2", "label"), ("sentence1", "sentence2"), "label", True),
        (("premise", "hypothesis", "label"), ("premise", "hypothesis"), "label", True),
        (("question", "sentence", "label"), ("question", "sentence"), "label", True),
        (("question1", "question2", "label"), ("question1", "question2"), "label", True),
        (("sentence", "text", "target"), ("text",), "target", False),
        (("title", "content", "category"), ("content",), "category", False),
    ],
)
def test_columns_are_found_by_name(columns, texts, label, paired):
    found = find_columns(columns, DataConfig(), "f")
    assert (found.texts, found.label, found.paired) == (texts, label, paired)


def test_settings_win_over_names():
    columns = ("text", "body", "note", "label", "grade", "id", "key")
    found = find_columns(columns, DataConfig(text="note,body", label="grade", id="key"), "f")
    assert (found.texts, found.label, found.id, found.paired) == (("note", "body"), "grade", "key", False)


def test_the_id_column_is_id_unless_it_is_used():
    assert find_columns(("ID", "text", "label"), DataConfig(), "f").id == "ID"
    assert find_columns(("id", "text"), DataConfig(label="id"), "f").id is None
    assert find_columns(("text", "label"), DataConfig(), "f").id is None


def test_text_join_overrules_the_known_pairs():
    pair = ("sentence1", "sentence2", "label")
    assert not find_columns(pair, DataConfig(text_join="space"), "f").paired
    assert find_columns(("a", "b", "label"), DataConfig(text="a,b", text_join="pair"), "f").paired
    with pytest.raises(DataError, match=r"'pair' needs two text columns. Received: a, b, c"):
        find_columns(("a", "b", "c", "label"), DataConfig(text="a,b,c", text_join="pair"), "f")


def test_unlabelled_rows_need_no_label_and_a_single_column_is_the_text():
    assert find_columns(("anything",), DataConfig(), "f", labelled=False).texts == ("anything",)
    found = find_columns(("text", "label"), DataConfig(label="absent"), "f", labelled=False)
    assert (found.texts, found.label) == (("text",), None)


@pytest.mark.parametrize(
    ("columns", "config", "message"),
    [
        (("a", "b"), DataConfig(label="b"), "f: did not find a text column .*Its columns: a, b.*--text"),
        (("text", "b"), DataConfig(), "did not find a label column .*Its columns: text, b.*--label"),
        (("text", "label"), DataConfig(text="txt"), "the column 'txt'. Its columns: text, label. Did you mean 'text'"),
        (("text", "label"), DataConfig(id="key"), "the column 'key'.*--id"),
        (("text", "label"), DataConfig(label="text", text="text"), "'text' cannot be both the text and the label"),
        (("text;label",), DataConfig(), "--delimiter"),
        (("x" * 500, "y"), DataConfig(), "Its columns: x{40}\\.\\.\\., y"),
    ],
)
def test_what_is_not_found_lists_the_columns(columns, config, message):
    with pytest.raises(DataError, match=message):
        find_columns(columns, config, "f")
