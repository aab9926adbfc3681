"""The files of a report: CSV that any reader splits as written, JSON without infinities, no page over another file."""

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.errors import RunError
from kerora.evaluation.report_files import check_output, csv_text, finite, write_files

ODD = [
    "=cmd|'/C calc'!A0",
    "a,b;c\td",
    'quo"te',
    "line\nend",
    "lone\rreturn",
    "\u202eright",
    "👩‍👩‍👧 emoji",
    "",
    " pad ",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(TEXTS, min_size=1, max_size=4), max_size=5))
def test_any_text_comes_back_from_the_csv(rows: list[list[str]]) -> None:
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows


def test_texts_are_quoted_and_numbers_are_not() -> None:
    text = csv_text([["=1+1", 3, 0.25, None], ODD])
    assert text.startswith('"=1+1",3,0.25,""\n"=cmd')
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["=1+1", "3", "0.25", ""], ODD]


def test_files_are_written_whole_and_replace_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a longer text from before")
    paths = write_files(tmp_path, {"a.txt": "ünï\r\n", "b.png": b"\x89PNG\r\n\x00"})
    assert paths == {name: tmp_path / name for name in ("a.txt", "b.png")}
    assert paths["a.txt"].read_bytes() == "ünï\r\n".encode()
    assert paths["b.png"].read_bytes() == b"\x89PNG\r\n\x00"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.png"], "no temporary file stays"


NUMBERS = st.none() | st.booleans() | st.integers() | st.text() | st.floats() | st.floats(width=32).map(np.float64)


@settings(max_examples=25, deadline=None)
@given(st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12))
def test_json_of_finite_values_is_strict(value: Any) -> None:
    again = json.loads(json.dumps(finite(value), allow_nan=False))
    if isinstance(value, float):
        assert again == (value if math.isfinite(value) else None)
    if isinstance(value, list):
        assert len(again) == len(value)
        assert finite(tuple(value)) == finite(value), "a tuple is a list in JSON"


@pytest.mark.parametrize("name", ["page.pdf", "page", "page.html.gz", ".html", "dir/"])
def test_a_page_must_be_named_html(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match=r"^--output must name an \.html file\. Received: .*$"):
        check_output(tmp_path / name)


def test_a_page_replaces_reports_only(tmp_path: Path) -> None:
    report, foreign, folder = tmp_path / "r.HTM", tmp_path / "f.html", tmp_path / "d.html"
    report.write_text('<!doctype html><meta name="generator" content="Kerora 9.9.9">')
    foreign.write_text("<!doctype html><title>Mine</title>" + " " * 2000 + '<meta name="generator" content="Kerora')
    folder.mkdir()
    check_output(tmp_path / "new.html")
    check_output(report)
    with pytest.raises(RunError, match=r"f\.html exists and is not a Kerora report.*Choose another --output\."):
        check_output(foreign)
    with pytest.raises(RunError, match=r"d\.html is a folder\. Give the path of an \.html file\."):
        check_output(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_page_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "locked.html"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(RunError, match=r"Cannot read .*locked\.html: Permission denied\. Choose another --output\."):
        check_output(path)
