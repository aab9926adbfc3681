"""Reads files of prompts for a language model, by the columns that it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.data.bad_rows import by_reason, write_bad_rows
from kerora.data.column_names import column_by_name, same_column
from kerora.data.columns import column_named, find_columns
from kerora.data.documents import Documents, Parts, prompt_parts
from kerora.data.extract import identifier_of
from kerora.data.files import is_table, open_table
from kerora.data.row_reader import SourcePart, read_table
from kerora.data.streams import stream_texts
from kerora.data.table import RawRow, Table
from kerora.data.text_columns import TURNS, joined_prompt, optional_columns
from kerora.data.trained_columns import RunDataConfig, TrainedColumns
from kerora.data.turns import turns_of
from kerora.errors import DataError, quoted
from kerora.notices import notice
from kerora.settings.fit import DataConfig


@dataclass(frozen=True)
class _PromptColumns:
    """The columns of the prompts: one column of turns, or the columns that are joined to a prompt."""

    names: tuple[str, ...]
    turns: bool = False


def read_prompts(path: Path, config: DataConfig, form: str) -> list[tuple[str, Parts]]:
    """Read prompts. Each line of a text file is a prompt, or each row of a table.

    A table has its prompts in the column of --text, in the columns of the prompts that the run was trained on, in the
    column ``prompt``, or in its text column. For a model of conversations, a column of turns holds the conversation so
    far.

    Args:
        path: the file.
        config: the text column, the columns of a run (see `for_run`), and whether bad rows are skipped.
        form: what the model was trained on: ``text``, ``completion`` or ``turns``.

    Returns:
        The id and the parts of each prompt.

    Raises:
        DataError: a row cannot be used (the error gives its place), or there is no row.
    """
    if not is_table(path, config):
        records = stream_texts(path, config)
        return [(record.id, prompt_parts(record.text, form)) for record in records] or _no_prompt(path)
    with open_table(path, config) as table:
        columns = _columns(table, config, form)
        identifier = config.id or column_by_name(table.columns, ("id",))
        part = SourcePart(str(path), Documents())

        def add(row: RawRow) -> str | None:
            found = _parts(row, columns, form)
            if isinstance(found, str):
                return found
            part.rows.append(found, identifier_of(row, identifier))
            return None

        read_table(table, part, add, config)
    # The list is written also if all rows are good: it replaces the list of an earlier attempt.
    write_bad_rows(config.bad_rows, [part.bad])
    if part.skipped:
        notice(f"{path}: bad rows skipped: {part.skipped:,} ({by_reason(part.bad.reasons)}).")
    return list(zip(part.rows.ids, part.rows.parts, strict=True))


def _parts(row: RawRow, columns: _PromptColumns, form: str) -> Parts | str:
    if columns.turns:
        # A conversation to continue needs no turn of the assistant.
        return turns_of(row.values.get(columns.names[0]), columns.names[0], learnt=False)
    text, problem = joined_prompt(row, columns.names)
    return problem or prompt_parts(text, form)


def _columns(table: Table, config: DataConfig, form: str) -> _PromptColumns:
    columns, place = table.columns, table.name
    if config.text:
        return _PromptColumns((column_named(config.text[0], columns, place, "text"),))
    trained = config.trained if isinstance(config, RunDataConfig) else None
    found = None if trained is None else _of_the_run(columns, trained)
    # Only a model of conversations can continue turns. For other models a list of turns is no prompt.
    if found is None and form == "turns" and (turns := column_by_name(columns, TURNS)):
        found = _PromptColumns((turns,), turns=True)
    if found is not None:
        return found
    # "prompt" before the usual names of texts: beside it, a column "text" may hold the continuation.
    prompt = column_by_name(columns, ("prompt",))
    name = prompt or find_columns(columns, config, place, False, table.header).texts[0]
    if trained is not None and trained.form != "text":
        wanted = quoted(trained.texts if trained.form == "turns" else trained.texts[:-1])
        notice(f"{place}: the run was trained on {wanted}, which the file lacks. The prompts are read from {name!r}.")
    return _PromptColumns((name,))


def _of_the_run(columns: Sequence[str], trained: TrainedColumns) -> _PromptColumns | None:
    """Return the columns of the prompts that a run was trained on, or None if the file lacks them."""
    if trained.form == "text":
        return None  # a part of a text is a prompt too: `find_columns` knows the column of the run
    if trained.form == "turns":
        turns = same_column(trained.texts[0], columns)
        return None if turns is None else _PromptColumns((turns,), turns=True)
    names = trained.texts[:-1]
    found = {name: same_column(name, columns) for name in names}
    if any(found[name] is None for name in names if name not in optional_columns(names)):
        return None
    return _PromptColumns(tuple(name for name in found.values() if name is not None))


def _no_prompt(path: Path) -> Any:
    raise DataError(f"{path} holds no prompt. Give one prompt in each line.")
