"""Finds the columns with the texts of a language model, and makes the parts of a text from a row."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerora.data.columns import column_by_name, column_named, find_columns
from kerora.data.documents import Form, Parts, completion, conversation, plain_text
from kerora.data.extract import identifier_of, record_of, row_problem, text_problem
from kerora.data.table import RawRow, Table
from kerora.data.trained_columns import RunDataConfig, TrainedColumns
from kerora.settings.fit import DataConfig
from kerora.settings.language import LanguageConfig

PROMPTS = (
    ("prompt", ("completion", "response", "output", "answer", "chosen")),
    ("instruction", ("output", "response", "completion", "answer")),
    ("question", ("answer", "response")),
    ("input", ("output", "target", "response")),
    ("source", ("target",)),
)
TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
CONTENTS, ROLES = ("content", "value", "text"), ("role", "from", "speaker")
MODEL_ROLES = ("assistant", "gpt", "model", "bot", "chatbot")


class TextColumns:
    """The columns of a table for a language model, and the parts of the text in each row."""

    form: Form

    def __init__(self, table: Table, config: DataConfig, language: LanguageConfig) -> None:
        columns, place = table.columns, table.name
        language = _of_run(config, language)
        named = language.prompt or language.completion or language.turns
        plain = isinstance(config, RunDataConfig) and not named  # a run of plain texts stays one
        self.names: tuple[str, ...] = ()
        self.form = "text"
        if language.turns or (not plain and not config.text and not language.prompt and column_by_name(columns, TURNS)):
            self.form = "turns"
            self.names = (
                column_named(language.turns or column_by_name(columns, TURNS) or "", columns, place, "turns"),
            )
        elif not plain and (prompts := _prompt_columns(columns, config, language, place)):
            self.form, self.names = "completion", prompts
        self.text = None if self.names else find_columns(columns, config, place, labelled=False)
        self.id = self.text.id if self.text else config.id or column_by_name(columns, ("id",))

    @property
    def trained(self) -> TrainedColumns:
        """The columns as a run keeps them."""
        if self.text is None:
            return TrainedColumns(self.names, id=self.id, form=self.form)
        return TrainedColumns(self.text.texts, id=self.id, paired=self.text.paired)

    def identifier(self, row: RawRow) -> str:
        """Return the id of a row, or its number if it has none."""
        return identifier_of(row, self.id)

    def parts(self, row: RawRow) -> Parts | str:
        """Return the parts of the text in a row, or a description of what is wrong with the row."""
        if self.text is not None:
            problem = row_problem(row, self.text)
            if problem is not None:
                return problem
            record = record_of(row, self.text)
            return plain_text(record.text if record.pair is None else f"{record.text}\n{record.pair}")
        if self.form == "turns":
            return turns_of(row.values.get(self.names[0]), self.names[0])
        prompt, text = (row.values.get(name) for name in self.names)
        problem = text_problem(prompt, self.names[0]) or text_problem(text, self.names[1])
        if problem is not None:
            return problem.replace("has an empty text in", "has nothing in")
        return completion(str(prompt), str(text))


def _of_run(config: DataConfig, language: LanguageConfig) -> LanguageConfig:
    """Return settings that name the columns of a run, if the settings name none."""
    trained = config.trained if isinstance(config, RunDataConfig) else None
    if trained is None or config.text or language.prompt or language.completion or language.turns:
        return language
    if trained.form == "turns":
        return dataclasses.replace(language, turns=trained.texts[0])
    if trained.form == "completion":
        return dataclasses.replace(language, prompt=trained.texts[0], completion=trained.texts[-1])
    return language


def _prompt_columns(
    columns: Sequence[str], config: DataConfig, language: LanguageConfig, place: str
) -> tuple[str, str] | None:
    if language.prompt or language.completion:
        choices = [names for prompt, names in PROMPTS if (language.prompt or prompt).lower() == prompt]
        known = choices[0] if choices else [name for _, names in PROMPTS for name in names]
        prompt = language.prompt or column_by_name(columns, [name for name, _ in PROMPTS]) or "prompt"
        answer = language.completion or column_by_name(columns, known) or "completion"
        return column_named(prompt, columns, place, "prompt"), column_named(answer, columns, place, "completion")
    if config.text or column_by_name(columns, ("text",)):
        return None
    for name, answers in PROMPTS:
        prompt_column, answer_column = column_by_name(columns, (name,)), column_by_name(columns, answers)
        if prompt_column and answer_column:
            return prompt_column, answer_column
    return None


def turns_of(value: Any, name: str, learnt: bool = True) -> Parts | str:
    """Return the turns of a conversation, or a description of what is wrong with them.

    Args:
        value: the turns as a list, or as JSON text of a list.
        name: the column, for messages.
        learnt: whether the loss must count at least one turn. Default: True.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return f"has no list of turns in '{name}'"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list) or not value:
        return f"has no list of turns in '{name}'"
    turns = [_turn(turn, number) for number, turn in enumerate(value)]
    for number, (text, _) in enumerate(turns, 1):
        problem = text_problem(text, name)
        if problem is not None:
            return f"{problem}, turn {number}"
    if learnt and not any(counted for _, counted in turns):
        return f"has no turn in '{name}' that the model can learn: no turn of the assistant, or only one turn"
    return conversation([(str(text), counted) for text, counted in turns])


def _turn(turn: Any, number: int) -> tuple[Any, bool]:
    # Turns without roles alternate, and the user has the first one.
    if not isinstance(turn, dict):
        return turn, number % 2 == 1
    text = next((turn[key] for key in CONTENTS if key in turn), None)
    role = next((turn[key] for key in ROLES if key in turn), None)
    return text, number % 2 == 1 if role is None else str(role).lower() in MODEL_ROLES
