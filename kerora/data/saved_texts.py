"""Reading back the texts of a language model from a folder that `kerora data save` wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerora.data.documents import GOES_ON, ROLES, Documents, Form, Part
from kerora.data.files import open_table
from kerora.errors import DataError
from kerora.settings.fit import DataConfig

FORMS: tuple[Form, ...] = ("text", "completion", "turns")


def read_texts(path: Path, form: str, files: bool) -> Documents:
    """Read the rows of `Documents.objects`.

    Raises:
        DataError: the file is damaged.
    """
    known = next((known for known in FORMS if known == form), None)
    if known is None:
        raise DataError(f"{path.parent} holds texts of the unknown form {form!r}. Save the data set again.")
    documents = Documents(form=known, files=files)
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
