"""The rows of a folder that `kerora data save` writes of a language model's texts, and reading them back."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kerora.data.documents import Documents, Form, Part
from kerora.data.files import open_table
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

FORMS: tuple[Form, ...] = ("text", "completion", "turns")
ROLES = {True: "assistant", False: "user"}
"""Of turns that the loss counts, and of those that it does not."""
GOES_ON = "goes_on"
"""Key of a text that is the beginning of a longer one, so that no end-of-text token follows it."""


def as_objects(documents: Documents) -> Iterator[dict[str, Any]]:
    """Yield each text as a row: with ``text``, ``prompt`` and ``completion``, or ``messages``."""
    for parts, identifier in zip(documents.parts, documents.ids, strict=True):
        row: dict[str, Any] = {"id": identifier}
        if documents.form == "turns":
            row["messages"] = [{"role": ROLES[part.counted], "content": part.text} for part in parts]
        elif documents.form == "completion":
            row |= {"prompt": parts[0].text, "completion": parts[1].text}
        else:
            row["text"] = parts[0].text
        if not parts[-1].ends:
            row[GOES_ON] = True
        yield row


def read_texts(path: Path, form: str, files: bool) -> Documents:
    """Read the rows of `as_objects`.

    Raises:
        DataError: the file is damaged.
    """
    known = next((known for known in FORMS if known == form), None)
    if known is None:
        raise DataError(f"{path.parent} holds texts of the unknown form {form!r}. Save the data set again.")
    documents = Documents([], [], form=known, files=files)
    with open_table(path, DataConfig()) as table:
        for row in table.rows:
            try:
                parts = _parts(row.values, known)
            except (KeyError, TypeError) as error:
                raise DataError(f"{row.place} holds no {form}: {error!r}. Save the data set again.") from error
            documents.append(parts, str(row.values.get("id", row.number)))
    return documents


def _parts(row: Mapping[str, Any], form: Form) -> list[Part]:
    ends = not row.get(GOES_ON)
    if form == "turns":
        turns = [Part(str(turn["content"]), turn["role"] == ROLES[True], True) for turn in row["messages"]]
        return [*turns[:-1], turns[-1]._replace(ends=ends)]
    if form == "completion":
        return [Part(str(row["prompt"]), False, False), Part(str(row["completion"]), True, ends)]
    return [Part(str(row["text"]), True, ends)]
