import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.data.jsonfiles import read_json_lines, read_json_table
from kerora.data.lines import Lines
from kerora.errors import DataError

VALUES = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.booleans(), st.none())


def lines(text):
    return Lines(io.BytesIO(text.encode()), "f.json")


def raise_first_problem(table):
    for row in table.rows:
        if row.problem:
            raise DataError(f"{table.name}, {row.place} {row.problem}")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({"text": VALUES, "label": VALUES}), min_size=1, max_size=6))
def test_every_layout_gives_the_same_rows(rows):
    by_line = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    by_column = {name: [row[name] for row in rows] for name in ("text", "label")}
    tables = [read_json_lines(lines(by_line)), read_json_table(lines(json.dumps(rows)))]
    for table in (*tables, read_json_table(lines(json.dumps(by_column)))):
        assert set(table.columns) == {"text", "label"}
        assert [row.values for row in table.rows] == rows


def test_columns_are_collected_over_rows_and_blank_lines_are_none():
    table = read_json_lines(lines('{"a": 1}\n\n{"b": 2}\n'))
    assert table.columns == ("a", "b")
    assert [(row.number, row.line) for row in table.rows] == [(1, 1), (2, 3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n\n{"a": \n', r"f.json, row 2 \(line 3\) is not valid JSON: column"),
        ('{"a": 1}\n[1]\n', r"row 2 \(line 2\) is no JSON object: \[1\]"),
        ('{"a": %s}' % ("[" * 100_000), r"row 1 \(line 1\) is not usable JSON"),
        ('{"a": %s}' % ("1" * 5000), r"row 1 \(line 1\) is not usable JSON"),
        ("", "is empty"),
    ],
)
def test_broken_lines_are_named(text, message):
    with pytest.raises(DataError, match=message):
        raise_first_problem(read_json_lines(lines(text)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n {"a" 2}]', "not valid JSON at line 2, column 7"),
        ('[{"a": 1}, 3]', "row 2 is no JSON object: 3"),
        ('{"a": [1, 2], "b": [1]}', "different lengths"),
        ('{"a": 1}', "expected a list of objects, or an object"),
        ("[]", "is empty"),
        (" \n", "is empty"),
    ],
)
def test_broken_files_are_named(text, message):
    with pytest.raises(DataError, match=message):
        raise_first_problem(read_json_table(lines(text)))
