"""Which columns hold a language model's texts, and what becomes of a row."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.config import DataConfig
from kerora.data.documents import Part, turn
from kerora.data.table import RawRow, Table
from kerora.data.text_columns import PROMPTS, TURNS, TextColumns
from kerora.data.turns import MODEL_ROLES, turns_of
from kerora.errors import ConfigError, DataError
from kerora.notices import Notice
from kerora.settings.language import LanguageConfig

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).filter(str.strip)


def columns(names: str, language: LanguageConfig | None = None, **config: Any) -> TextColumns:
    table = Table("the file", tuple(names.split()), iter(()), {})
    return TextColumns(table, DataConfig(**config), language or LanguageConfig())


def row(**values: Any) -> RawRow:
    return RawRow(7, 8, values)


@pytest.mark.parametrize(
    ("names", "language", "form", "used"),
    [
        ("text", {}, "text", ()),
        ("text messages", {}, "turns", ("messages",)),
        ("Prompt Response id", {}, "completion", ("Prompt", "Response")),
        ("instruction input output", {}, "completion", ("instruction", "input", "output")),
        ("Output Input Instruction", {}, "completion", ("Instruction", "Input", "Output")),
        ("instruction context response category", {}, "completion", ("instruction", "context", "response")),
        ("system_prompt question response", {}, "completion", ("system_prompt", "question", "response")),
        ("question answer text", {}, "text", ()),
        ("input source target", {}, "completion", ("input", "target")),
        ("source target", {}, "completion", ("source", "target")),
        ("a b", {"prompt": "a", "completion": "b"}, "completion", ("a", "b")),
        ("question reply answer", {"completion": "reply"}, "completion", ("question", "reply")),
        ("q answer", {"prompt": "q"}, "completion", ("q", "answer")),
        ("talk text", {"turns": "talk"}, "turns", ("talk",)),
    ],
)
def test_the_form_follows_the_columns(names: str, language: dict[str, str], form: str, used: tuple[str, ...]) -> None:
    found = columns(names, LanguageConfig(**language))
    assert (found.form, found.names) == (form, used)


def test_a_text_column_that_is_named_wins_over_turns_and_prompts() -> None:
    for other in (*TURNS, "prompt completion"):
        assert columns(f"body {other}", text="body").form == "text"
    assert all(columns(f"{name} {answers[0]}").form == "completion" for name, answers in PROMPTS)


def test_columns_that_are_missing_are_named() -> None:
    with pytest.raises(DataError, match=r"the file.*'tirns'.*turns"):
        columns("id turns", LanguageConfig(turns="tirns"))
    with pytest.raises(DataError, match="the file.*completion"):
        columns("prompt", LanguageConfig(prompt="prompt"))
    with pytest.raises(DataError, match="the file"):
        columns("x y z")


def test_rows_of_plain_texts_and_pairs() -> None:
    found = columns("text id")
    assert found.parts(row(text="=cmd\u202e", id=3)) == (Part("=cmd\u202e", True, True),)
    assert [found.identifier(row(id=value)) for value in (3, "", None, float("nan"), "a")] == ["3", "7", "7", "7", "a"]
    assert found.parts(row(text=" \n")) == "has an empty text in 'text'"
    assert found.parts(row(text="\ud800")) == "has an unpaired surrogate in 'text'"
    pair = columns("premise hypothesis")
    assert pair.parts(row(premise="a", hypothesis="b")) == (Part("a\nb", True, True),)


@settings(max_examples=40, deadline=None)
@given(TEXTS, TEXTS)
def test_a_prompt_does_not_count_and_something_parts_it_from_its_completion(prompt: str, text: str) -> None:
    parts = columns("prompt completion").parts(row(prompt=prompt, completion=text))
    assert not isinstance(parts, str)
    first, second = parts
    assert second == Part(text, True, True) and not first.counted and not first.ends
    assert first.text in (prompt, f"{prompt}\n")
    assert first.text[-1].isspace() or text[0].isspace()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"prompt": "", "completion": "b"}, "has nothing in 'prompt'"),
        ({"prompt": "a", "completion": None}, "has no text in 'completion'"),
        ({"prompt": ["a"], "completion": "b"}, "has non-string text in 'prompt': ['a'] (list)"),
    ],
)
def test_bad_prompts_are_named(values: dict[str, Any], problem: str) -> None:
    assert columns("prompt completion").parts(row(**values)) == problem


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=5), st.sampled_from(["list", "json", "array", "dicts"]))
def test_turns_alternate_however_they_are_held(texts: list[str], held: str) -> None:
    forms = {
        "list": texts,
        "json": json.dumps(texts),
        "array": np.array(texts, object),
        "dicts": [{"content": text} for text in texts],
    }
    expected = tuple(turn(text, number % 2 == 1) for number, text in enumerate(texts))
    assert turns_of(forms[held], "c") == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*MODEL_ROLES, "user", "system", "GPT", "Assistant", "human"]), min_size=1, max_size=5))
def test_roles_decide_which_turns_count(roles: list[str]) -> None:
    found = turns_of([{"from": role, "value": "text"} for role in roles], "c")
    counted = [role.lower() in MODEL_ROLES for role in roles]
    if any(counted):
        assert not isinstance(found, str) and [part.counted for part in found] == counted
    else:
        assert isinstance(found, str) and found.startswith("has no turn in 'c' that the model can learn")


@pytest.mark.parametrize("value", [None, 3, {}, "", "no json", "{}", "[", "[" * 100_000, "9" * 5000, np.array([])])
def test_what_is_no_list_of_turns_is_said(value: Any) -> None:
    assert turns_of(value, "c") == "has no list of turns in 'c'"


def test_turns_without_a_text_are_numbered_and_need_not_be_learnt() -> None:
    assert turns_of(["a", {"role": "user"}], "c") == "has no text in 'c', turn 2"
    assert turns_of(["a", "b", "\ud800"], "c") == "has an unpaired surrogate in 'c', turn 3"
    assert turns_of(["only one"], "c", learnt=False) == (turn("only one", False),)


@pytest.mark.parametrize(
    ("values", "prompt"),
    [
        ({"instruction": "Add.", "input": "1 2"}, "Add.\n\n1 2\n"),
        ({"instruction": "Hi", "input": ""}, "Hi\n"),
        ({"instruction": "Hi", "input": None}, "Hi\n"),
        ({"instruction": "Hi"}, "Hi\n"),
    ],
)
def test_all_parts_of_an_instruction_are_its_prompt(values: dict[str, Any], prompt: str) -> None:
    found = columns("instruction input output").parts(row(**values, output="3"))
    assert found == (Part(prompt, False, False), Part("3", True, True))


def test_an_empty_instruction_or_input_of_a_wrong_type_is_named() -> None:
    found = columns("instruction input output")
    assert found.parts(row(instruction="", input="a", output="b")) == "has nothing in 'instruction'"
    assert found.parts(row(instruction="a", input=["b"], output="c")).startswith("has non-string text in 'input'")
    # the only prompt is needed, whatever its name
    assert columns("input output").parts(row(input=" ", output="b")) == "has nothing in 'input'"


def test_a_system_prompt_comes_first() -> None:
    found = columns("question response system").parts(row(question="q", response="r", system="s"))
    assert [part.text for part in found] == ["s\n\nq\n", "r"]
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    chat = columns("conversations system")
    assert [(part.text, part.counted) for part in chat.parts(row(conversations=turns, system="s"))] == [
        ("s", False),
        ("a", False),
        ("b", True),
    ]
    assert len(chat.parts(row(conversations=turns, system=None))) == 2
    assert (
        chat.parts(row(conversations=["a", "b"], system="s"))
        == "has 'system' beside turns without roles in 'conversations'"
    )


def test_unread_columns_and_fields_are_named() -> None:
    with pytest.warns(
        Notice, match="learns 'instruction', 'output'. Other columns are not read: 'history', 'category'"
    ):
        columns("id instruction output history category")
    chat = columns("messages")
    turns = [{"role": "user", "content": "a", "weight": 0}, {"role": "assistant", "content": "b", "tool_calls": []}]
    with pytest.warns(Notice) as said:
        chat.parts(row(messages=turns))
    assert [str(one.message) for one in said] == [
        "The field 'tool_calls' of the turns in 'messages' is read only by a chat template that uses it.",
        "The field 'weight' of the turns in 'messages' is read only by a chat template that uses it.",
    ]


def test_unknown_roles_are_named_and_mapped() -> None:
    turns = [{"from": "Customer", "value": "a"}, {"from": "bing", "value": "b"}, {"from": "gpt", "value": "c"}]
    assert columns("chat", LanguageConfig(turns="chat")).parts(row(chat=turns)) == (
        "has the unknown role 'customer' in 'chat', turn 1 (--roles customer=assistant learns its turns, --roles "
        "customer=user does not)"
    )
    language = LanguageConfig(turns="chat", roles="customer=user,Bing=assistant,gpt=user")
    assert [part.counted for part in columns("chat", language).parts(row(chat=turns))] == [False, True, False]
    assert not isinstance(turns_of(turns, "c", learnt=False), str)
    with pytest.raises(ConfigError, match="needs NAME=assistant or NAME=user. Received: 'bing=bot'"):
        LanguageConfig(roles="bing=bot")
