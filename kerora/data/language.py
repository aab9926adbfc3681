"""Texts for language models from every source: text files, tables of texts, prompts or conversations, TFDS."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.columns import column_named, find_columns
from kerora.data.documents import Documents, Form, Part, completion, conversation, plain_text, prompt_parts
from kerora.data.extract import SHOWN_ROWS, check_problems, is_missing, row_text, text_problem
from kerora.data.files import is_data_file, local_names, missing_file, open_table, require_file
from kerora.data.folders import split_files
from kerora.data.lines import open_lines
from kerora.data.rows import Dataset
from kerora.data.save import holds_texts, is_saved, read_saved_texts
from kerora.data.sources import BUNDLED, BUNDLED_FILE, dataset_name, stream_texts
from kerora.data.splits import cut_parts, take_subset
from kerora.data.table import RawRow, Table
from kerora.data.tfds_source import is_tfds_name, read_tfds
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig
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


def load_documents(config: DataConfig, language: LanguageConfig, seed: int = 42) -> Dataset[Documents]:
    """Load the texts of a language model, split and cut to a subset.

    A plain text file is one text, whose last share becomes a missing validation or test part; of the rows of a table,
    and of the files of a folder where they are enough, these parts are drawn at random. `train`, `validation` and
    `test` work as in `kerora.data.sources.load_dataset`.

    Args:
        config: the source, its text column and the splits.
        language: the other columns.
        seed: seed of the splits and the subset; default 42.

    Raises:
        DataError: a file or a row cannot be used; says which, where, and what to do.
    """
    parts, skipped = _Reader(config, language).parts()
    if "train" not in parts:
        raise DataError(f"There are no training texts, only {' and '.join(parts)}. Give them with --train or --data.")
    for split, documents in parts.items():
        if documents.form != parts["train"].form:
            raise DataError(f"The {split} part holds {documents.form}, the training part {parts['train'].form}.")
    splits = cut_parts(parts, (), config, seed, config.source)
    splits = {split: take_subset(documents, config.subset, seed, split) for split, documents in splits.items()}
    return Dataset(dataset_name(config), (), splits, {split: count for split, count in skipped.items() if count})


def load_split(spec: str, config: DataConfig, language: LanguageConfig, split: str = "test") -> Documents:
    """Load the texts of one part of a source; a file is taken whole.

    Raises:
        DataError: the source has no such part, or cannot be used.
    """
    parts = _Reader(config, language).read(spec)
    if split not in parts and len(parts) > 1:
        raise DataError(f"{spec} has no {split} part, only {' and '.join(parts)}. Choose one of these, or give a file.")
    return parts.get(split) or next(iter(parts.values()))


def read_prompts(path: Path, config: DataConfig, form: str) -> list[tuple[str, tuple[Part, ...]]]:
    """Read prompts: a line each of a text file, or a row each of a table, from its column ``prompt`` or its text.

    For a model of conversations, a column of turns holds what was said so far.

    Args:
        path: the file.
        config: its text column, and whether bad rows are skipped.
        form: what the model was trained on: ``text``, ``completion`` or ``turns``.

    Returns:
        The id and the parts of each prompt.

    Raises:
        DataError: a row cannot be used (says which), or there is none.
    """
    require_file(path)
    if not is_data_file(path):
        records = stream_texts(path, config)
        return [(record.id, prompt_parts(record.text, form)) for record in records] or _no_prompt(path)
    prompts: list[tuple[str, tuple[Part, ...]]] = []
    problems: list[str] = []
    dropped = 0
    with open_table(path, config) as table:
        turns = _find(table.columns, TURNS) if form == "turns" and not config.text else None
        names = config.text or tuple(filter(None, [turns or _find(table.columns, ("prompt",))]))
        names = names or find_columns(table.columns, config, table.name, labelled=False).texts
        column = column_named(names[0], table.columns, table.name, "text")
        identifier = config.id or _find(table.columns, ("id",))
        for row in table.rows:
            value = row.values.get(column)
            found = _turns(value, column, learnt=False) if turns else text_problem(value, column)
            if not isinstance(found, str):
                name = row.values.get(identifier) if identifier else None
                parts = found if found is not None else prompt_parts(str(value), form)
                prompts.append((str(row.number) if is_missing(name) else str(name), parts))
                continue
            dropped += 1
            if len(problems) < SHOWN_ROWS:
                problems.append(f"{row.place} {found}")
    check_problems(str(path), problems, dropped, len(prompts), config)
    return prompts


def _no_prompt(path: Path) -> Any:
    raise DataError(f"{path} holds no prompt. Give one a line.")


class _Reader:
    """Reads sources with the same settings, and counts the rows that were dropped."""

    def __init__(self, config: DataConfig, language: LanguageConfig) -> None:
        self.config = config
        self.language = language
        self.dropped = 0

    def parts(self) -> tuple[dict[str, Documents], dict[str, int]]:
        given = {split: path for split in SPLITS if (path := getattr(self.config, split)) is not None}
        ignores_source = "train" in given or (given and self.config.source == BUNDLED)
        parts = {} if ignores_source else self.read(self.config.source)
        skipped = {"train": self.dropped}
        for split, path in given.items():
            self.dropped = 0
            parts[split] = next(iter(self.read(path).values()))
            skipped[split] = self.dropped
        return parts, skipped

    def read(self, spec: str) -> dict[str, Documents]:
        path = Path(spec).expanduser()
        if spec == BUNDLED:
            return self._bundled()
        if path.is_dir():
            return self._folder(path)
        if path.is_file() or is_data_file(path):
            return {"train": self._file(path)}
        if is_tfds_name(spec):
            return read_tfds(spec, self.config, [BUNDLED, *local_names(Path())], self.table, labelled=False)
        raise DataError(missing_file(path))

    def _bundled(self) -> dict[str, Documents]:
        with open_table(BUNDLED_FILE, DataConfig()) as table:
            rows = list(table.rows)
        by_split = {split: [row for row in rows if row.values["split"] == split] for split in SPLITS}
        return {
            split: self.table(Table(BUNDLED, ("id", "text"), iter(part), {}), DataConfig(text=("text",)))
            for split, part in by_split.items()
        }

    def _folder(self, folder: Path) -> dict[str, Documents]:
        if is_saved(folder) and holds_texts(folder):
            return read_saved_texts(folder)
        files = split_files(folder)
        if is_saved(folder) or files:
            return {split: self._joined([self._file(path) for path in paths]) for split, paths in files.items()}
        texts = sorted(path for path in folder.rglob("*.txt") if path.is_file())
        if not texts:
            raise DataError(f"The folder {folder} holds no texts: neither train and test files nor .txt files.")
        return {"train": self._joined([self._file(path, path.relative_to(folder).as_posix()) for path in texts])}

    @staticmethod
    def _joined(parts: Sequence[Documents]) -> Documents:
        whole = parts[0]
        for part in parts[1:]:
            whole.texts.extend(part.texts)
            whole.ids.extend(part.ids)
            whole.parts += part.parts
        return whole

    def _file(self, path: Path, name: str | None = None) -> Documents:
        require_file(path)
        if is_data_file(path):
            with open_table(path, self.config) as table:
                return self.table(table, self.config)
        with open_lines(path) as lines:
            text = "".join(lines)
        if not text.strip():
            raise DataError(f"{path} holds no text. Leave it out or give another file.")
        documents = Documents(files=True)
        documents.append(plain_text(text), name or path.name)
        return documents

    def table(self, table: Table, config: DataConfig) -> Documents:
        """Read all rows of a table."""
        columns = _Columns(table, config, self.language)
        documents = Documents(form=columns.form)
        problems: list[str] = []
        dropped = 0
        for row in table.rows:
            parts = columns.parts(row)
            if not isinstance(parts, str):
                documents.append(parts, columns.identifier(row))
                continue
            dropped += 1
            if len(problems) < SHOWN_ROWS:
                problems.append(f"{row.place} {parts}")
        check_problems(table.name, problems, dropped, len(documents), config)
        self.dropped += dropped
        return documents


class _Columns:
    """Which columns of a table hold what, and how a row becomes the parts of a text."""

    def __init__(self, table: Table, config: DataConfig, language: LanguageConfig) -> None:
        columns, place = table.columns, table.name
        self.names: tuple[str, ...] = ()
        self.form: Form = "text"
        if language.turns or (not config.text and not language.prompt and _find(columns, TURNS)):
            self.form = "turns"
            self.names = (column_named(language.turns or _find(columns, TURNS) or "", columns, place, "turns"),)
        elif prompts := _prompt_columns(columns, config, language, place):
            self.form, self.names = "completion", prompts
        self.text = None if self.names else find_columns(columns, config, place, labelled=False)
        self.id = config.id or _find(columns, ("id",))

    def identifier(self, row: RawRow) -> str:
        """Return the row's id, or its number."""
        value = row.values.get(self.id) if self.id else None
        return str(row.number) if is_missing(value) or value == "" else str(value)

    def parts(self, row: RawRow) -> tuple[Part, ...] | str:
        """Return the parts of a row's text, or what is wrong with it."""
        if self.text is not None:
            found = row_text(row, self.text)
            return found if isinstance(found, str) else plain_text("\n".join(part for part in found if part))
        if self.form == "turns":
            return _turns(row.values.get(self.names[0]), self.names[0])
        prompt, text = (row.values.get(name) for name in self.names)
        problem = text_problem(prompt, self.names[0]) or text_problem(text, self.names[1])
        if problem is not None:
            return problem.replace("has an empty text in", "has nothing in")
        return completion(str(prompt), str(text))


def _prompt_columns(
    columns: Sequence[str], config: DataConfig, language: LanguageConfig, place: str
) -> tuple[str, str] | None:
    if language.prompt or language.completion:
        choices = [names for prompt, names in PROMPTS if (language.prompt or prompt).lower() == prompt]
        known = choices[0] if choices else [name for _, names in PROMPTS for name in names]
        prompt = language.prompt or _find(columns, [name for name, _ in PROMPTS]) or "prompt"
        answer = language.completion or _find(columns, known) or "completion"
        return column_named(prompt, columns, place, "prompt"), column_named(answer, columns, place, "completion")
    if config.text or _find(columns, ("text",)):
        return None
    for name, answers in PROMPTS:
        prompt_column, answer_column = _find(columns, (name,)), _find(columns, answers)
        if prompt_column and answer_column:
            return prompt_column, answer_column
    return None


def _find(columns: Iterable[str], names: Sequence[str]) -> str | None:
    by_name = {column.strip().lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def _turns(value: Any, name: str, learnt: bool = True) -> tuple[Part, ...] | str:
    """Return the turns of a conversation, given as a list or as the JSON of one; `learnt`: one of them must count."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
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
        return f"has no turn in '{name}' that the model could learn: none of the assistant, or one turn only"
    return conversation([(str(text), counted) for text, counted in turns])


def _turn(turn: Any, number: int) -> tuple[Any, bool]:
    if not isinstance(turn, dict):
        return turn, number % 2 == 1
    text = next((turn[key] for key in CONTENTS if key in turn), None)
    role = next((turn[key] for key in ROLES if key in turn), None)
    return text, number % 2 == 1 if role is None else str(role).lower() in MODEL_ROLES
