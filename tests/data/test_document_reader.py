"""Texts of language models from files, folders and saved data sets, with what makes each of them unusable."""

import json
from pathlib import Path
from typing import Any

import pytest

from kerora.config import DataConfig
from kerora.data.document_reader import DocumentReader
from kerora.data.documents import Documents, Form, completion, plain_text, turn
from kerora.data.row_reader import SourcePart
from kerora.errors import DataError
from kerora.settings.language import LanguageConfig

READER = DocumentReader(LanguageConfig())
ODD = "=cmd\u202e 👩‍👩‍👧 <b>\n\n \ttail \n"


def test_a_file_is_one_text_with_every_character(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbf" + ODD.encode() + b"a\r\nb\x0cc")
    part = READER.file(path, "the book", DataConfig())
    assert part.rows.parts == [plain_text(ODD + "a\r\nb\x0cc")], "but the byte order mark"
    assert (part.rows.ids, part.rows.files, part.source) == (["the book"], True, str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text. Leave it out or give another file."),
        (b" \n\t\xc2\xa0\n", "holds no text. Leave it out or give another file."),
        (b"caf\xe9", "byte 0xE9 is not UTF-8. The file may be"),
        (b"a\0b", "a NUL byte. Text files hold none."),
    ],
)
def test_files_without_usable_text_are_told(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        READER.file(path, "bad", DataConfig())
    assert str(path) in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt"):
        READER.file(tmp_path / "none.txt", "x", DataConfig())


def test_a_table_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": ODD, "completion": "=1+1", "id": f"r{number}"} for number in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = READER.file(path, "rows", DataConfig())
    assert (part.rows.form, part.rows.files, part.rows.ids) == ("completion", False, ["r0", "r1", "r2"])
    assert part.rows.parts == [completion(ODD, "=1+1")] * 3


def test_a_folder_is_one_part_in_the_order_of_its_paths(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/deep/x.txt", "c.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.txt").mkdir()
    found = READER.folder(tmp_path, DataConfig())
    part = found.parts["train"]()
    assert part.rows.ids == ["a/deep/x.txt", "a/z.txt", "b.txt"] == list(part.rows.texts) and part.rows.files
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no texts\. It needs train and test files, or \.txt files\."):
        READER.folder(tmp_path / "empty", DataConfig())


def documents(form: Form) -> Documents:
    found = Documents(form=form)
    rows = {
        "text": [plain_text(ODD), (plain_text("cut")[0]._replace(ends=False),)],
        "completion": [completion("a", "b"), completion(ODD, ODD)],
        "turns": [[turn("hi", False), turn(ODD, True)], [turn("only", True)]],
    }
    for number, parts in enumerate(rows[form], 1):
        found.append(parts, f"id {number}")
    return found


def saved(tmp_path: Path, rows: list[dict[str, Any]], content: Documents, **changes: Any) -> Any:
    """Write rows as a saved data set of these documents; return what reads them."""
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = {"rows": len(content), "sha256": content.fingerprint()}
    description = {"form": content.form, "files": [], "splits": {"train": known}, **changes}
    reader = READER.saved(tmp_path, description)
    assert reader is not None
    return reader(path, "train")


@pytest.mark.parametrize("form", ["text", "completion", "turns"])
def test_saved_texts_read_back_part_by_part(form: Form, tmp_path: Path) -> None:
    content = documents(form)
    part = saved(tmp_path, list(content.objects()), content, files=["train"])
    assert part.rows.parts == content.parts and part.rows.ids == content.ids
    assert part.rows.fingerprint() == content.fingerprint() and part.rows.files
    assert READER.saved(tmp_path, {"splits": {}}) is None, "labelled rows are read like others"


@pytest.mark.parametrize("form", ["text", "completion", "turns"])
@pytest.mark.parametrize("bad", [{}, {"messages": []}, {"messages": [3]}, {"messages": None}, {"messages": ["hi"]}])
def test_damaged_saved_rows_are_told(form: Form, bad: dict[str, Any], tmp_path: Path) -> None:
    content = documents(form)
    with pytest.raises(DataError, match=rf"^row 2 .*holds no {form}: .*\. Save the data set again\.$") as caught:
        saved(tmp_path, [next(content.objects()), {"id": "2", **bad}], content)
    assert "\n" not in str(caught.value)


def test_saved_texts_that_changed_or_of_an_unknown_form_are_told(tmp_path: Path) -> None:
    content = documents("text")
    rows = list(content.objects())
    with pytest.raises(DataError, match="train"):
        saved(tmp_path, [rows[0], {**rows[1], "text": "other"}], content)
    with pytest.raises(
        DataError, match=r"holds texts of the unknown form 'songs', not one of text, completion, turns\."
    ):
        saved(tmp_path, rows, content, form="songs")


def test_parts_of_two_forms_do_not_go_together() -> None:
    train, test = (SourcePart("x", documents(form)) for form in ("text", "turns"))
    with pytest.raises(
        DataError,
        match=r"^The test part holds turns, but the training part holds text\. Give both ",
    ):
        READER.settle({"train": train, "test": test}, DataConfig())
    assert READER.settle({"train": train, "test": READER.empty("y")}, DataConfig()).splits["test"].parts == []
