"""JSON files of model folders, and the spelling of hubs: read, or refused in one line that names the file."""

import json
from pathlib import Path

import pytest

from kerora.errors import PresetError
from kerora.hubs.names import HUGGING_FACE, KAGGLE, OfflineError
from kerora.models.json_files import read_json_object


def test_an_object_reads_as_it_is(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None], "=cmd": "\u202e👩‍👩‍👧\x1b", "": {}}
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert read_json_object(tmp_path / "c.json") == content
    (tmp_path / "c.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert read_json_object(tmp_path / "c.json") == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not valid JSON: Expecting value"),
        (b"{", "is not valid JSON: Expecting property name"),
        (b"\xff\xfe{}", "is not valid JSON: 'utf-8' codec can't decode byte 0xff"),
        (b"\xef\xbb\xbf{}", "is not valid JSON: Unexpected UTF-8 BOM"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not valid JSON: Exceeds the limit"),
        (b"[" * 100_000, "is not valid JSON: maximum recursion depth exceeded"),
        (b"[]", "must hold a JSON object. Received: list"),
        (b"null", "must hold a JSON object. Received: NoneType"),
        (b'"text"', "must hold a JSON object. Received: str"),
    ],
)
def test_what_is_no_object_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(PresetError) as caught:
        read_json_object(path)
    assert str(caught.value).startswith(f"{path} {message}") and "\n" not in str(caught.value)
    assert "Received" in message or str(caught.value).endswith(". Save or download the preset again.")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"^Cannot read .*/none\.json: No such file or directory\.$"):
        read_json_object(tmp_path / "none.json")
    with pytest.raises(PresetError, match=r"^Cannot read .*: Is a directory\.$"):
        read_json_object(tmp_path)


def test_the_error_of_a_hub_keeps_what_messages_need(tmp_path: Path) -> None:
    error = OfflineError("https://example.org", tmp_path, "timed out")
    assert (str(error), error.site, error.cache) == ("https://example.org: timed out", "https://example.org", tmp_path)
    assert {KAGGLE, HUGGING_FACE} == {"kaggle://", "hf://"} and error.reason == "timed out"
