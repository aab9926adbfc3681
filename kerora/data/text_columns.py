"""Finds the columns with the texts of a language model, and makes the parts of a text from a row."""

from collections.abc import Sequence
from typing import Any

from kerora.data.column_names import column_by_name, plain_name
from kerora.data.columns import column_named, find_columns
from kerora.data.documents import Form, Parts, completion, plain_text
from kerora.data.extract import identifier_of, is_missing, record_of, row_problem, text_problem
from kerora.data.table import RawRow, Table
from kerora.data.trained_columns import RunDataConfig, TrainedColumns
from kerora.data.turns import CONTENTS, ROLES, list_of_turns, role_of, turns_of
from kerora.errors import quoted
from kerora.notices import notice
from kerora.settings.fit import DataConfig
from kerora.settings.language import LanguageConfig

# In the order of preference: the first pair of which both columns exist is taken.
PROMPTS = (
    ("prompt", ("completion", "response", "output", "answer", "chosen")),
    ("instruction", ("output", "response", "completion", "answer")),
    ("question", ("answer", "response")),
    ("input", ("output", "target", "response")),
    ("source", ("target",)),
)
BEFORE, AFTER = ("system", "system_prompt"), ("input", "context")
"""Columns that belong to a prompt: before it and after it. They may be empty."""
TURNS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")


class TextColumns:
    """The columns of a table for a language model, and the parts of the text in each row.

    Attributes:
        form: plain texts, prompts with completions, or conversations.
        names: for prompts the columns of the prompt in order and then that of the completion; for conversations the
            column of the turns.
        text: the columns of plain texts; None for the other forms.
        id: the column of identifiers, or None.
    """

    form: Form = "text"

    def __init__(self, table: Table, config: DataConfig, language: LanguageConfig) -> None:
        columns, place = table.columns, table.name
        self.language = language
        self.names: tuple[str, ...] = ()
        self._unread: set[str] = set()
        self._asked = False
        # Columns of a run, then settings, then conversations, then prompts, then plain texts.
        trained = _form_of_run(config, language)
        if trained is not None:
            self._take(columns, trained, place)
        elif language.turns or (not config.text and not language.prompt and column_by_name(columns, TURNS)):
            self.form = "turns"
            self.names = (
                column_named(language.turns or column_by_name(columns, TURNS) or "", columns, place, "turns"),
            )
        elif prompts := _prompt_columns(columns, config, language, place):
            self.form, self.names = "completion", prompts
        self.text = None if self.names else find_columns(columns, config, place, labelled=False, header=table.header)
        self.id = self.text.id if self.text else config.id or column_by_name(columns, ("id",))
        # Some data sets keep the system prompt in a column of its own, beside the turns.
        self.system = column_by_name(columns, BEFORE) if self.form == "turns" else None
        unread = [name for name in columns if self.names and name not in (*self.names, self.id, self.system)]
        # Plain texts have no such notice: their tables usually have columns that are no text.
        if unread:
            notice(f"The language model learns {quoted(self.names)}. Other columns are not read: {quoted(unread)}.")

    def _take(self, columns: Sequence[str], trained: TrainedColumns, place: str) -> None:
        """Take the columns of a run. Columns that belong to a prompt may be missing."""
        if trained.form == "text":
            return
        self.form = "turns" if trained.form == "turns" else "completion"
        *prompts, last = trained.texts
        for name in prompts:
            if name not in optional_columns(prompts):
                column_named(name, columns, place, "prompt")
        column_named(last, columns, place, "turns" if self.form == "turns" else "completion")
        self.names = tuple(name for name in trained.texts if name in columns)

    @property
    def trained(self) -> TrainedColumns:
        """The columns as a run keeps them."""
        if self.text is None:
            return TrainedColumns(self.names, id=self.id, form=self.form)
        return TrainedColumns(self.text.texts, id=self.text.id, paired=self.text.paired)

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
        return self._turns(row) if self.form == "turns" else self._completion(row)

    def _turns(self, row: RawRow) -> Parts | str:
        value, name = row.values.get(self.names[0]), self.names[0]
        turns = list_of_turns(value)
        for key in sorted({str(key) for turn in turns or () if isinstance(turn, dict) for key in turn}):
            if key not in (*CONTENTS, *ROLES, *self._unread):
                self._unread.add(key)
                notice(
                    f"The field '{key:.40}' of the turns in '{name:.40}' is read only by a chat template that uses it."
                )
        system = row.values.get(self.system) if self.system else None
        # A system turn inside the conversation takes precedence over the column.
        if turns and isinstance(system, str) and system.strip() and role_of(turns[0]) != "system":
            # Without roles the turns alternate. A system turn in front would swap the user and the model.
            if isinstance(turns[0], dict) and role_of(turns[0]) is not None:
                value = [{"role": "system", "content": system}, *turns]
            else:
                return f"has '{self.system}' beside turns without roles in '{name}'"
        found = turns_of(value, name, language=self.language)
        if isinstance(found, str) and "(--roles " in found:
            # an error lists the first bad rows: the remedy is said with the first of them
            found, self._asked = found.partition(" (--roles ")[0] if self._asked else found, True
        return found

    def _completion(self, row: RawRow) -> Parts | str:
        *names, last = self.names
        text = row.values.get(last)
        prompt, problem = joined_prompt(row, names)
        problem = problem or text_problem(text, last)
        if problem is not None:
            return problem.replace("has an empty text in", "has nothing in")
        return completion(prompt, str(text))


def joined_prompt(row: RawRow, names: Sequence[str]) -> tuple[str, str | None]:
    """Return the prompt in the columns of a row, and what is wrong with it or None.

    Args:
        row: the row.
        names: the columns of the prompt in order. Those that belong to a prompt, such as "input", may be empty.
    """
    values = [(name, row.values.get(name)) for name in names]
    kept = [(name, value) for name, value in values if not (name in optional_columns(names) and _is_empty(value))]
    problem = next(filter(None, (text_problem(value, name) for name, value in kept)), None)
    # One text stays as it is.
    return str(kept[0][1]) if len(kept) == 1 else "\n\n".join(str(value).strip() for _, value in kept), problem


def optional_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of a prompt that may be empty or missing. One of the columns is never optional."""
    found = [name for name in names if plain_name(name) in (*BEFORE, *AFTER)]
    # The prompt itself can have the name of an optional column: "input", after "system".
    return found[:-1] if len(found) == len(names) else found


def _is_empty(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def _form_of_run(config: DataConfig, language: LanguageConfig) -> TrainedColumns | None:
    """Return the columns of a run, or None if the settings name columns."""
    # The settings win as a whole: a mix of named columns and columns of the run fits no table.
    named = config.text or language.prompt or language.completion or language.turns
    return config.trained if isinstance(config, RunDataConfig) and not named else None


def _prompt_columns(
    columns: Sequence[str], config: DataConfig, language: LanguageConfig, place: str
) -> tuple[str, ...] | None:
    if language.prompt or language.completion:
        # The usual answers to this prompt first. "output" answers an instruction, and "target" a source.
        choices = [names for prompt, names in PROMPTS if (language.prompt or prompt).lower() == prompt]
        known = choices[0] if choices else [name for _, names in PROMPTS for name in names]
        prompt = language.prompt or column_by_name(columns, [name for name, _ in PROMPTS]) or "prompt"
        answer = language.completion or column_by_name(columns, known) or "completion"
        return column_named(prompt, columns, place, "prompt"), column_named(answer, columns, place, "completion")
    # Beside a prompt, a column "text" can hold prompt and answer together, in the format to learn (Alpaca).
    if config.text or column_by_name(columns, ("text",)):
        return None
    for name, answers in PROMPTS:
        prompt_column, answer_column = column_by_name(columns, (name,)), column_by_name(columns, answers)
        # Both are needed: a "question" without an answer is a plain column.
        if prompt_column and answer_column:
            before, after = (column_by_name(columns, names) for names in (BEFORE, AFTER))
            found = dict.fromkeys(filter(None, (before, prompt_column, after)))
            return *found, answer_column
    return None
