"""Files of prompts: read by the columns of the run, by the name prompt, or as lines."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from kerora.data.documents import prompt_parts
from kerora.data.prompts import read_prompts
from kerora.data.text_columns import optional_columns
from kerora.data.trained_columns import TrainedColumns, for_run
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

INSTRUCTIONS = TrainedColumns(("system", "instruction", "input", "output"), form="completion")
QUESTIONS = TrainedColumns(("Frage", "Antwort"), form="completion")
TALKS = TrainedColumns(("talk",), form="turns")
BODIES = TrainedColumns(("body",))


def texts(path: Path, trained: TrainedColumns | None, form: str, **settings: Any) -> list[str]:
    config = DataConfig(**settings)
    found = read_prompts(path, config if trained is None else for_run(config, trained.as_dict()), form)
    return ["|".join(part.text for part in parts) for _, parts in found]


def table(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def expected(text: str, form: str) -> str:
    return "|".join(part.text for part in prompt_parts(text, form))


def test_the_columns_of_a_prompt_are_joined_as_in_training(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        {"id": "a", "instruction": "Translate.", "input": "a dog"},
        {"id": "b", "instruction": "Say hello.", "input": ""},
        {"id": "c", "instruction": "Say hello.", "input": None},
    )
    wanted = ["Translate.\n\na dog", "Say hello.", "Say hello."]
    assert texts(path, INSTRUCTIONS, "completion") == [expected(text, "completion") for text in wanted]


def test_names_of_the_run_that_no_list_knows(tmp_path: Path) -> None:
    path = table(tmp_path, {"frage": "Wo?", "Antwort": "Hier."}, {"frage": "Wann?", "Antwort": ""})
    assert texts(path, QUESTIONS, "completion") == [expected(text, "completion") for text in ("Wo?", "Wann?")]
    talk = [{"role": "user", "content": "Hi"}]
    # The names of the run come before the usual names of turns.
    path = table(tmp_path, {"talk": talk, "messages": [{"role": "user", "content": "no"}]})
    assert texts(path, TALKS, "turns") == ["Hi"]
    path = table(tmp_path, {"body": "Once upon", "title": "A tale"})
    assert texts(path, BODIES, "text") == ["Once upon"]


def test_another_column_is_taken_and_said(tmp_path: Path) -> None:
    path = table(tmp_path, {"prompt": "Where?"})
    with pytest.warns(UserWarning, match=r"trained on 'Frage', which the file lacks.*read from 'prompt'"):
        assert texts(path, QUESTIONS, "completion") == [expected("Where?", "completion")]
    path = table(tmp_path, {"start": "Once upon"})
    with pytest.warns(UserWarning, match=r"trained on the text of 'body'.*only other column 'start'"):
        assert texts(path, BODIES, "text") == ["Once upon"]


def test_a_named_column_wins(tmp_path: Path) -> None:
    path = table(tmp_path, {"Frage": "Wo?", "other": "Why?", "talk": [{"role": "user", "content": "Hi"}]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for trained, form in ((QUESTIONS, "completion"), (TALKS, "turns"), (BODIES, "text"), (None, "text")):
            assert texts(path, trained, form, text=("other",)) == [expected("Why?", form)]


@pytest.mark.parametrize(
    ("row", "trained", "form", "message"),
    [
        ({"instruction": "", "input": "a"}, INSTRUCTIONS, "completion", "has an empty text in 'instruction'"),
        ({"instruction": 5}, INSTRUCTIONS, "completion", "'instruction'"),
        ({"talk": "no list"}, TALKS, "turns", "has no list of turns in 'talk'"),
        ({"a": "x", "b": "y"}, BODIES, "text", "the file lacks 'body'.*Name the text column with --text"),
    ],
)
def test_bad_rows_are_named(
    row: dict[str, Any], trained: TrainedColumns, form: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        texts(table(tmp_path, row), trained, form)


def test_which_columns_of_a_prompt_may_be_empty() -> None:
    assert optional_columns(("system", "instruction", "input")) == ["system", "input"]
    assert optional_columns(("system", "input")) == ["system"], "here the prompt itself is called input"
    assert optional_columns(("input",)) == [] == optional_columns(("question",))
