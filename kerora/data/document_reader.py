"""Reader of texts for language models: text files, and tables of whole texts, prompts or conversations."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kerora.data.documents import GOES_ON, ROLES, Documents, Form, Part, plain_text, turn
from kerora.data.files import is_table, open_table
from kerora.data.folders import joined
from kerora.data.lines import open_lines
from kerora.data.row_reader import Found, RowReader, Settled, SourcePart, read_table
from kerora.data.save import check_same
from kerora.data.table import RawRow, Table
from kerora.data.text_columns import TextColumns
from kerora.errors import DataError
from kerora.settings.fit import DataConfig
from kerora.settings.language import LanguageConfig

FORMS: tuple[Form, ...] = ("text", "completion", "turns")


class DocumentReader(RowReader[SourcePart[Documents], Documents]):
    """Reads the texts of a language model.

    Args:
        language: the columns of prompts, completions and conversations.
    """

    endings = (".txt",)

    def __init__(self, language: LanguageConfig) -> None:
        self.language = language

    def file(self, path: Path, name: str, config: DataConfig) -> SourcePart[Documents]:
        """Read a table, or read a file of any other format as one text.

        Raises:
            DataError: the file is missing or cannot be used.
        """
        if is_table(path, config):
            return super().file(path, name, config)
        with open_lines(path, config.encoding) as lines:
            # Through `open_lines` and not Path.read_text: it decompresses, and a fault gets its line and byte.
            text = "".join(lines)
        if not text.strip():
            raise DataError(f"{path} holds no text. Leave it out or give another file.")
        # A whole file can be divided into parts by its length. A row of a table cannot.
        part = SourcePart(str(path), Documents(files=True))
        part.rows.append(plain_text(text), name)
        return part

    def table(self, table: Table, config: DataConfig) -> SourcePart[Documents]:
        """Read all rows of a table. Each row is one text.

        Raises:
            DataError: a column is missing, or rows cannot be used.
        """
        columns = TextColumns(table, config, self.language)
        part = SourcePart(table.name, Documents(form=columns.form))
        part.columns = columns.trained

        def add(row: RawRow) -> str | None:
            parts = columns.parts(row)
            if isinstance(parts, str):
                return parts
            part.rows.append(parts, columns.identifier(row))
            return None

        return read_table(table, part, add, config)

    def folder(self, folder: Path, config: DataConfig) -> Found[SourcePart[Documents]]:
        """Find all ``.txt`` files in a folder and the folders inside it, as one part.

        Raises:
            DataError: there is no such file.
        """
        # Sorted, because the order of a folder differs between file systems, and the splits depend on it.
        texts = sorted(path for path in folder.rglob("*.txt") if path.is_file())
        if not texts:
            raise DataError(
                f"The folder {folder} holds no texts. It needs train and test files, or .txt files. Choose another."
            )
        names = {path: path.relative_to(folder).as_posix() for path in texts}
        return Found(
            {"train": lambda: joined(self.file(path, name, config) for path, name in names.items())}, whole=True
        )

    def saved(
        self, folder: Path, description: Mapping[str, Any]
    ) -> Callable[[Path, str], SourcePart[Documents]] | None:
        """Return a function that reads a saved file of texts, or None for labelled rows, which are read as tables.

        The returned function raises a DataError if the file is missing, damaged, or differs from what was saved.
        """
        # Labelled rows have no form. Their texts are learned like those of any table.
        return partial(self._saved, description) if "form" in description else None

    def _saved(self, description: Mapping[str, Any], path: Path, split: str) -> SourcePart[Documents]:
        saved, form = description["splits"][split], description["form"]
        known = next((known for known in FORMS if known == form), None)
        if known is None:
            raise DataError(
                f"{path.parent} holds texts of the unknown form {form!r}, not one of {', '.join(FORMS)}. "
                "Save the data set again."
            )
        part = SourcePart(str(path), Documents(form=known, files=split in description.get("files", ())))
        # An empty split is an empty file, which the reader of tables refuses.
        if saved["rows"]:
            _read_saved(path, part.rows)
        check_same(path, part.rows, saved)
        return part

    def empty(self, source: str) -> SourcePart[Documents]:
        """Return a part without texts."""
        return SourcePart(source, Documents())

    def settle(self, parts: Mapping[str, SourcePart[Documents]], config: DataConfig) -> Settled[Documents]:
        """Check that all parts hold texts of one form.

        Raises:
            DataError: the forms differ.
        """
        splits = {split: part.rows for split, part in parts.items()}
        for split, documents in splits.items():
            # An empty part has the form "text" whatever the others have.
            if len(documents) and documents.form != splits["train"].form:
                raise DataError(
                    f"The {split} part holds {documents.form}, but the training part holds {splits['train'].form}. "
                    "Give both parts in the same form."
                )
        return Settled(splits)


def _read_saved(path: Path, documents: Documents) -> None:
    with open_table(path, DataConfig()) as table:
        for row in table.rows:
            if row.problem:
                raise DataError(f"{path}, {row.place} {row.problem}. Save the data set again.")
            try:
                # A file that was edited by hand can lack keys. The checksum is compared only after the reading.
                parts = _saved_parts(row.values, documents.form)
            except (KeyError, TypeError, IndexError, ValueError) as error:
                raise DataError(
                    f"{row.place} holds no {documents.form}: {error!r}. Save the data set again."
                ) from error
            documents.append(parts, str(row.values.get("id", row.number)))


def _saved_parts(row: Mapping[str, Any], form: Form) -> list[Part]:
    ends = not row.get(GOES_ON)
    if form == "turns":
        turns = [_saved_turn(dict(message)) for message in row["messages"]]
        # Only the last turn can go on: every other one is followed by a turn.
        return [*turns[:-1], turns[-1]._replace(ends=ends)]
    if form == "completion":
        return [Part(str(row["prompt"]), False, False), Part(str(row["completion"]), True, ends)]
    return [Part(str(row["text"]), True, ends)]


def _saved_turn(message: dict[str, Any]) -> Part:
    role, text = str(message.pop("role")), message.pop("content", None)
    details = message if text is not None else {"content": None, **message}
    return turn("" if text is None else str(text), role == ROLES[True], role, details)
