"""Loads data for language models: whole data sets, one part of a source, or prompts."""

from pathlib import Path
from typing import Any

from kerora.data.bad_rows import by_reason, write_bad_rows
from kerora.data.column_names import column_by_name
from kerora.data.columns import column_named, find_columns
from kerora.data.document_reader import DocumentReader
from kerora.data.documents import Documents, Parts, prompt_parts
from kerora.data.extract import identifier_of, text_problem
from kerora.data.files import is_table, open_table
from kerora.data.row_reader import SourcePart, read_table
from kerora.data.rows import Dataset
from kerora.data.sources import load_splits, read_part
from kerora.data.streams import stream_texts
from kerora.data.table import RawRow
from kerora.data.text_columns import TURNS, turns_of
from kerora.errors import DataError
from kerora.notices import notice
from kerora.settings.fit import DataConfig
from kerora.settings.language import LanguageConfig


def load_documents(config: DataConfig, language: LanguageConfig, seed: int = 42) -> Dataset[Documents]:
    """Load the texts of a language model with their splits, limited to a subset if one is set.

    A plain text file is one text. Its last share becomes a missing validation or test part. From a table these parts
    are sampled by row, and from a folder with enough files by file. `train`, `validation` and `test` work as in
    `kerora.data.sources.load_dataset`.

    Args:
        config: the source, its text column and the splits.
        language: the other columns.
        seed: seed of the splits and the subset. Default: 42.

    Raises:
        DataError: a file or a row cannot be used. The error gives the place and the remedy.
    """
    return load_splits(config, DocumentReader(language), seed)


def load_split(spec: str, config: DataConfig, language: LanguageConfig, split: str = "test") -> Documents:
    """Load the texts of one part of a source. A file, or a folder without parts, is loaded whole.

    Raises:
        DataError: the source has no such part, or it cannot be used.
    """
    return read_part(spec, config, DocumentReader(language), split).rows


def read_prompts(path: Path, config: DataConfig, form: str) -> list[tuple[str, Parts]]:
    """Read prompts. Each line of a text file is a prompt, or each row of a table.

    A table has its prompts in the column ``prompt`` or in its text column. For a model of conversations, a column of
    turns holds the conversation so far.

    Args:
        path: the file.
        config: the text column, and whether bad rows are skipped.
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
        # Only a model of conversations can continue turns. For other models a list of turns is no prompt.
        turns = column_by_name(table.columns, TURNS) if form == "turns" and not config.text else None
        # "prompt" before the usual names of texts: beside it, a column "text" may hold the continuation.
        names = config.text or tuple(filter(None, [turns or column_by_name(table.columns, ("prompt",))]))
        names = names or find_columns(table.columns, config, table.name, False, table.header).texts
        column = column_named(names[0], table.columns, table.name, "text")
        identifier = config.id or column_by_name(table.columns, ("id",))
        part = SourcePart(str(path), Documents())

        def add(row: RawRow) -> str | None:
            value = row.values.get(column)
            # A conversation to continue needs no turn of the assistant.
            found = turns_of(value, column, learnt=False) if turns else text_problem(value, column)
            if isinstance(found, str):
                return found
            parts = found if found is not None else prompt_parts(str(value), form)
            part.rows.append(parts, identifier_of(row, identifier))
            return None

        read_table(table, part, add, config)
    # The list is written also if all rows are good: it replaces the list of an earlier attempt.
    write_bad_rows(config.bad_rows, [part.bad])
    if part.skipped:
        notice(f"{path}: bad rows skipped: {part.skipped:,} ({by_reason(part.bad.reasons)}).")
    return list(zip(part.rows.ids, part.rows.parts, strict=True))


def _no_prompt(path: Path) -> Any:
    raise DataError(f"{path} holds no prompt. Give one prompt in each line.")
