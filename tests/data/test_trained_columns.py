"""Files for a run are read by the columns of its training rows, and other choices are said or refused."""

import json
from pathlib import Path

import pytest

from kerora.config import DataConfig
from kerora.data.columns import find_columns
from kerora.data.document_reader import DocumentReader
from kerora.data.sources import load_dataset
from kerora.data.table import Table
from kerora.data.text_columns import TextColumns
from kerora.data.trained_columns import RunDataConfig, TrainedColumns, for_run
from kerora.errors import DataError
from kerora.notices import Notice
from kerora.settings.language import LanguageConfig

JOINED = TrainedColumns(("title", "description"), ("label",), "key")
PAIR = TrainedColumns(("a", "b"), ("label",), paired=True)
ONE = TrainedColumns(("body",), ("topic",))


def found(columns: str, trained: TrainedColumns, labelled: bool = False, **settings: str):
    config = for_run(DataConfig(**settings), json.loads(json.dumps(trained.as_dict())))
    return find_columns(columns.split(","), config, "f.csv", labelled)


@pytest.mark.parametrize(
    ("columns", "trained", "texts", "paired", "identifier"),
    [
        ("id,title,description", JOINED, ("title", "description"), False, "id"),
        ("key,id,text,Title,Description", JOINED, ("Title", "Description"), False, "key"),
        ("a,b,text,sentence1,sentence2", PAIR, ("a", "b"), True, None),
        ("id,body,text,topic", ONE, ("body",), False, "id"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_columns_of_the_run_hold(columns, trained, texts, paired, identifier):
    columns = found(columns, trained)
    assert (columns.texts, columns.paired, columns.id) == (texts, paired, identifier)


@pytest.mark.parametrize(
    ("columns", "trained", "texts"),
    [
        ("id,text", JOINED, ("text",)),
        ("title", JOINED, ("title",)),
        ("key,note,label", JOINED, ("note",)),
        ("topic,id,words", ONE, ("words",)),
    ],
)
def test_an_only_other_column_is_taken_and_said(columns, trained, texts):
    with pytest.warns(Notice, match=rf"^f.csv: the run was trained on the text of '.*column '{texts[0]}' is read as"):
        assert found(columns, trained).texts == texts


@pytest.mark.parametrize(
    ("columns", "trained", "message"),
    [
        ("id,text,content", JOINED, "lacks 'title', 'description'. Its columns: 'id', 'text', 'content'. Name the te"),
        ("title,notes", JOINED, "trained on the text of 'title', 'description', but the file lacks 'description'"),
        ("id,a", PAIR, "lacks 'b'"),
        ("premise,hypothesis", PAIR, "lacks 'a', 'b'"),
    ],
)
def test_several_other_columns_are_refused(columns, trained, message):
    with pytest.raises(DataError, match=message):
        found(columns, trained)


@pytest.mark.filterwarnings("error")
def test_named_columns_are_taken_as_they_are():
    assert found("id,text,body", ONE, text="text").texts == ("text",)
    assert found("a,b,x,y", PAIR, text="x,y").paired
    assert found("title,description,more", JOINED, text="title,more").texts == ("title", "more")
    assert found("body,label,topic", ONE, labelled=True, label="label").label == "label"


def test_the_label_of_the_run_holds():
    assert found("body,label,topic", ONE, labelled=True).label == "topic"
    with pytest.warns(Notice, match="trained on the labels of 'topic'. .* only label column 'Class' is read"):
        assert found("body,Class", ONE, labelled=True).label == "Class"
    with pytest.raises(DataError, match="lacks this column. .* Name the label column with --label"):
        found("body,label,sentiment", ONE, labelled=True)


def test_runs_of_older_versions_change_nothing():
    assert for_run(DataConfig(), None) == DataConfig()
    assert not isinstance(for_run(DataConfig(), {"texts": 3}), RunDataConfig)


def test_data_sets_know_their_columns(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("id,sentence1,sentence2,label\n" + "".join(f"{n},x {n},y,{n % 2}\n" for n in range(8)))
    assert load_dataset(str(path)).columns == TrainedColumns(("sentence1", "sentence2"), ("label",), "id", True)
    assert load_dataset("tickets").columns == TrainedColumns(("text",), ("label",))


def test_several_label_columns_are_said(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("text,sentiment,category\n" + "".join(f"x {n},{n % 2},{n % 3}\n" for n in range(8)))
    with pytest.warns(
        Notice, match="The label column is 'category'. 'sentiment' could hold labels too. .* --label cho"
    ):
        load_dataset(str(path))


@pytest.mark.parametrize(
    ("columns", "trained"),
    [
        (("question", "answer"), TrainedColumns(("question", "answer"), form="completion")),
        (("chat",), TrainedColumns(("chat",), form="turns")),
        (("body",), TrainedColumns(("body",), id="id")),
    ],
)
def test_language_models_keep_their_columns(columns, trained):
    names = ("id", "text", "prompt", "completion", "messages", *columns)
    read = TextColumns(Table("f", names, iter(()), {}), for_run(DataConfig(), trained.as_dict()), LanguageConfig())
    assert (read.form, read.names or read.text.texts) == (trained.form, columns)
    assert read.trained == TrainedColumns(columns, id="id", form=trained.form)
    with pytest.raises(DataError, match=f"'{columns[0]}'"):
        TextColumns(Table("f", names[:4], iter(()), {}), for_run(DataConfig(), trained.as_dict()), LanguageConfig())


def test_texts_know_their_columns(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n')
    part = DocumentReader(LanguageConfig()).file(path, "rows", DataConfig())
    assert part.columns == TrainedColumns(("instruction", "output"), form="completion")


def test_runs_of_version_0_1_hold_one_label_column() -> None:
    old = {"texts": ["body"], "label": "topic", "id": None, "paired": False, "form": "text"}
    config = for_run(DataConfig(), old)
    assert isinstance(config, RunDataConfig) and config.trained == ONE
    unlabelled = for_run(DataConfig(), {**old, "label": None})
    assert isinstance(unlabelled, RunDataConfig) and unlabelled.trained == TrainedColumns(("body",))


def test_one_of_several_label_columns_is_missing() -> None:
    several = TrainedColumns(("body",), ("joy", "anger"))
    assert found("body,anger,Joy", several, labelled=True).labels == ("Joy", "anger")
    with pytest.raises(DataError, match="trained on the labels of 'joy', 'anger', but the file lacks 'anger'"):
        found("body,joy,label", several, labelled=True)
