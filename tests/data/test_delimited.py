import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerora.config import DataConfig
from kerora.data.delimited import read_delimited
from kerora.data.dialect import Dialect, delimiter_of, is_quoted
from kerora.data.lines import Lines
from kerora.errors import DataError

FIELDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def table_of(text, columns=(), delimiter=",", quoted=True):
    return read_delimited(Lines(io.BytesIO(text.encode()), "f.csv"), columns, Dialect(delimiter, quoted))


def values(table):
    """The values of the rows; what is wrong with the first bad one is raised."""
    rows = list(table.rows)
    for row in rows:
        if row.problem:
            raise DataError(f"{table.name}, {row.place} {row.problem}")
    return [tuple(row.values.values()) for row in rows]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=6))
def test_what_the_csv_module_writes_is_read_back(rows):
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    assert values(table_of(stream.getvalue())) == rows


def test_rows_know_their_number_and_the_line_they_start_on():
    table = table_of('a,b\n1,"x\ny"\n\n2,z\n')
    assert [(row.number, row.line) for row in table.rows] == [(1, 2), (2, 5)]


def test_a_field_may_be_very_long():
    assert len(values(table_of("a,b\n" + "x" * 300_000 + ",1\n"))[0][0]) == 300_000


def test_names_are_given_for_a_file_without_header():
    table = table_of("1,x\n2,y\n", ("class", "text"))
    assert table.columns == ("class", "text")
    assert [(row.number, row.line, row.values["text"]) for row in table.rows] == [(1, 1, "x"), (2, 2, "y")]


def test_a_header_that_equals_the_given_names_is_no_row():
    assert values(table_of("class,text\n1,x\n", ("class", "text"))) == [("1", "x")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n1,2,3\n", r"f.csv, row 2 \(line 3\) has the wrong number of fields: 3, not 2 \(a, b\)"),
        ("a,b\n1,2\n\n1\n", r"row 2 \(line 4\) has the wrong number of fields: 1, not 2 \(a, b\)"),
        ('a,b\n1,"open\n2,3\n', r"row 1 \(line 2\) is not valid CSV: a quote opens here and is not closed"),
        ('a,b\n1,"x"y\n', r"row 1 \(line 2\) is not valid CSV: text follows a closing quote"),
        ("a,a\n1,2\n", "line 1: column 'a' occurs twice"),
        ("", "is empty"),
        ("\n\n", "is empty"),
    ],
)
def test_bad_files_are_named(text, message):
    with pytest.raises(DataError, match=message):
        values(table_of(text))


def test_the_number_of_names_must_fit():
    with pytest.raises(DataError, match=r"row 1 \(line 1\) has the wrong number of fields: 2, not 3 \(x, y, z\)"):
        values(table_of("1,2\n", ("x", "y", "z")))


def test_tab_separated_files_may_hold_bare_quotation_marks(tmp_path):
    bare, quoted = tmp_path / "bare.tsv", tmp_path / "quoted.tsv"
    bare.write_text('a\tb\n"so" he said\t1\n" x\t2\n')
    quoted.write_text('a\tb\n"one\ttwo ""three"""\t1\n')
    assert not is_quoted(bare, "\t")
    assert is_quoted(quoted, "\t")
    assert values(table_of(bare.read_text(), (), "\t", quoted=False)) == [('"so" he said', "1"), ('" x', "2")]
    assert values(table_of(quoted.read_text(), (), "\t")) == [('one\ttwo "three"', "1")]


def test_delimiters():
    assert delimiter_of(DataConfig(), ".tsv") == "\t"
    assert delimiter_of(DataConfig(), ".csv") == ","
    assert delimiter_of(DataConfig(delimiter=";"), ".csv") == ";"
    assert delimiter_of(DataConfig(delimiter="\\t"), ".csv") == "\t"
    with pytest.raises(DataError, match="one character"):
        delimiter_of(DataConfig(delimiter="||"), ".csv")
