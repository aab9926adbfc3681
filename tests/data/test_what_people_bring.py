"""Tables as they come from spreadsheets and other tools: read, or refused in one line with a remedy that works."""

import json
from pathlib import Path

import pytest

from kerora.config import DataConfig
from kerora.data.labelled import LabelledReader
from kerora.data.sources import read_source
from kerora.notices import Notice
from tests.data.brought import EXPECTED, GOOD, ROWS, refused, rows, texts, write

# Separators


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_separator_is_found_and_said(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "a.csv", GOOD.replace(",", delimiter))
    with pytest.warns(Notice, match=r"a\.csv: the fields are separated by a"):
        assert rows(path) == EXPECTED
    with pytest.warns(Notice, match=r"a\.csv: the fields are separated by a"):
        assert texts(path) == ["fine day", "wet day"]


def test_commas_in_a_tsv_and_a_line_that_names_the_separator(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.tsv", GOOD)) == EXPECTED
    assert rows(write(tmp_path / "b.csv", "\ufeffsep=;\r\n" + GOOD.replace(",", ";").replace("\n", "\r\n"))) == EXPECTED
    assert rows(write(tmp_path / "c.csv", '"sep=|"\n' + GOOD.replace(",", "|"))) == EXPECTED


def test_a_comma_in_texts_does_not_change_the_separator(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "a.csv", "text;id\nwet, cold;1\ndry, warm;2\nicy;3\n")) == [
        "wet, cold",
        "dry, warm",
        "icy",
    ]
    assert texts(write(tmp_path / "b.csv", "text\none; two\n")) == ["one; two"]


def test_two_possible_separators_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text;a|label\nx;b|1\n")
    with refused("separated by semicolon or pipe. Name one with --delimiter semicolon"):
        rows(path)
    assert rows(path, delimiter="pipe", text="text;a") == [("x;b", "1")]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_every_line_end(tmp_path: Path, end: str) -> None:
    assert rows(write(tmp_path / "a.csv", GOOD.replace("\n", end))) == EXPECTED
    lines = end.join(json.dumps(row) for row in ROWS)
    assert rows(write(tmp_path / "a.jsonl", lines)) == EXPECTED
    assert texts(f"one{end}two{end}") == ["one", "two"]


# Header lines


def test_the_first_line_of_one_column_is_not_lost(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "what a day\nrain again\n")
    with refused("the first line 'what a day' can be the name of the column or a text"):
        texts(path)
    assert texts(path, columns="text") == ["what a day", "rain again"]
    assert texts(path, text="what a day") == ["rain again"]
    assert texts(write(tmp_path / "b.csv", "Tweet\nrain again\n")) == ["rain again"]


def test_given_columns_and_a_header_in_other_case(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.csv", GOOD.replace("text,label", "TEXT, Label")), columns="text,label") == EXPECTED
    tab = write(tmp_path / "a.tsv", GOOD.replace("text,label", '"Text"\t"Label"').replace(",", "\t"))
    assert rows(tab, columns="text,label") == EXPECTED


@pytest.mark.parametrize("header", ["label,text", "review,Label", "Text,stars"])
def test_a_header_that_contradicts_the_given_columns_is_refused(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "a.csv", GOOD.replace("text,label", header))
    with refused(f"'{header}' looks like a header line, but it differs from --columns text,label. Leave out"):
        rows(path, columns="text,label")


def test_empty_columns_at_the_end_are_dropped_if_their_cells_are_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'label,text,,\nx,fine day,,\ny,"wet day", ,\n')
    assert rows(path) == EXPECTED
    assert rows(write(tmp_path / "b.csv", GOOD.replace("day,x", "day,x,,"))) == EXPECTED
    with refused(r"row 2 \(line 3\) has the wrong number of fields: 4, not 2"):
        rows(write(tmp_path / "c.csv", "label,text,,\nx,fine day,,\ny,wet, cold,\n"))
    with refused("columns 1 and 3 have no name"):
        rows(write(tmp_path / "d.csv", ",text,,label\n1,a,2,x\n"))


def test_a_name_with_a_comma(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"what, why",label\nfine day,x\nwet day,y\n')
    assert rows(path, text='"what, why"') == rows(path, text=("what, why",)) == EXPECTED
    with refused("""A name with a comma needs quotes inside: --text '"what, why"'"""):
        rows(path, text="what, why")


# Quotes


def test_two_stray_quotes_in_a_tsv_join_nothing(tmp_path: Path) -> None:
    lines = [f"day {number}\t{'xy'[number % 2]}" for number in range(30)]
    lines[4], lines[11] = '"late\tx', 'early"\ty'
    found = rows(write(tmp_path / "a.tsv", "text\tlabel\n" + "\n".join(lines) + "\n"))
    assert len(found) == 30 and found[4] == ('"late', "x") and found[11] == ('early"', "y")


def test_a_tsv_with_real_quotes_is_unquoted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"fine day"\tx\n"wet\nday"\ty\n')
    assert rows(path) == [("fine day", "x"), ("wet\nday", "y")]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_rows_that_a_quote_joins_are_named_with_both_lines(tmp_path: Path, delimiter: str) -> None:
    lines = [f"day {number},{'xy'[number % 2]}" for number in range(30)]
    lines[4], lines[11] = '"late,x', 'early",y'
    content = ("text,label\n" + "\n".join(lines) + "\n").replace(",", delimiter)
    path = write(tmp_path / "a.csv", content)
    with refused(r"row 5 \(line 6\) joins whole rows: a quote opens on line 6 and closes on line 13"):
        rows(path)
    assert len(rows(path, skip_bad_rows=True)) == 29


def test_joined_rows_at_the_start_are_noticed_at_the_end(tmp_path: Path) -> None:
    with refused("line 2 joins whole rows: a quote opens on line 2 and closes on line 3"):
        rows(write(tmp_path / "a.csv", 'text,label\n"late,x\nearly",y\nmore,x\n'))


def test_texts_of_several_lines_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one, two\nthree",x\n"four\nfive, six",y\nseven,x\n')
    assert rows(path) == [("one, two\nthree", "x"), ("four\nfive, six", "y"), ("seven", "x")]


def test_texts_of_several_lines_behind_their_label_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'label,text\nx,"good day"\nx,"Hello\nBest, Tom"\ny,cold\n')
    assert rows(path) == [("good day", "x"), ("Hello\nBest, Tom", "x"), ("cold", "y")]


def test_rows_joined_behind_their_label_are_noticed(tmp_path: Path) -> None:
    lines = [f"{'xy'[number % 2]},day {number}" for number in range(30)]
    lines[4], lines[8] = 'x,"late', 'x,early"'
    path = write(tmp_path / "a.csv", "label,text\n" + "\n".join(lines) + "\n")
    with refused(r"row 5 \(line 6\) joins whole rows: a quote opens on line 6 and closes on line 10"):
        rows(path)


# Bad rows


BAD_ROWS = 'text,label\nfine day,x\nopen,"x\n"a"b,x\ntoo,many,fields\nfew\nretu\rrn,x\n ,y\nwet day,y\n'


def test_every_row_that_can_be_skipped_is_skipped_and_counted_by_reason(tmp_path: Path) -> None:
    path, listed = write(tmp_path / "a.csv", BAD_ROWS), tmp_path / "bad.csv"
    config = DataConfig(skip_bad_rows=True, bad_rows=str(listed))
    part = read_source(str(path), config, LabelledReader())["train"]
    assert part.rows.texts == ["fine day", "wet day"]
    assert part.bad.reasons == {
        "is not valid CSV": 3,
        "has the wrong number of fields": 2,
        "has an empty text in 'text'": 1,
    }
    assert [row.place for _, row in part.bad.listed] == [f"row {n} (line {n + 1})" for n in range(2, 8)]


def test_bad_lines_of_json_and_bytes_are_skipped_too(tmp_path: Path) -> None:
    good = [json.dumps(row).encode() for row in ROWS]
    content = b"\n".join([good[0], b'{"text": ', b"[1]", b'{"text": "caf\xe9", "label": "x"}', b"\0", good[1]])
    part = read_source(str(write(tmp_path / "a.jsonl", content)), DataConfig(skip_bad_rows=True), LabelledReader())[
        "train"
    ]
    assert part.rows.texts == ["fine day", "wet day"]
    assert part.bad.reasons == dict.fromkeys(
        ["is not valid JSON", "is no JSON object", "is not UTF-8", "holds a NUL byte"], 1
    )


def test_a_file_in_another_encoding_is_not_skipped_line_by_line(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"caf\xe9 {number},{'xy'[number % 2]}\n" for number in range(20)) + "fine,x\n"
    path = write(tmp_path / "a.csv", content.encode("latin-1"))
    with refused("Read it with --encoding cp1252"):
        rows(path, skip_bad_rows=True)
    with refused("no usable row is left of 2"):
        texts("id,text\n1,\n2\n", format="csv", skip_bad_rows=True)


def test_the_list_of_bad_rows_is_written_also_if_they_are_an_error(tmp_path: Path) -> None:
    path, listed = write(tmp_path / "a.csv", BAD_ROWS), tmp_path / "bad.csv"
    with refused(r"6 rows cannot be used: .*1 more"):
        rows(path, bad_rows=str(listed))
    lines = listed.read_text().splitlines()
    assert lines[0] == "file,place,problem" and len(lines) == 7
    assert lines[1] == f"{path},row 2 (line 3),is not valid CSV: text follows a closing quote"
    other = write(tmp_path / "mine.csv", "mine")
    with refused(r"mine\.csv exists and is no list of bad rows"):
        rows(path, bad_rows=str(other))
    assert other.read_text() == "mine"


# Encodings


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "it’s “fine”"),
        ("latin-1", "déjà vu"),
        ("utf-16", "ça"),
        ("cp1251", "хороший день"),
        ("shift_jis", "天気"),
    ],
)
def test_an_encoding_holds_everywhere(tmp_path: Path, encoding: str, text: str) -> None:
    table = write(tmp_path / "a.tsv", f"text\tlabel\n{text}\tx\n".encode(encoding))
    assert rows(table, encoding=encoding) == [(text, "x")]
    line = json.dumps({"text": text, "label": "x"}, ensure_ascii=False)
    assert rows(write(tmp_path / "a.jsonl", line.encode(encoding)), encoding=encoding) == [(text, "x")]
    assert texts(write(tmp_path / "a.txt", text.encode(encoding)), encoding=encoding) == [text]
    assert texts(f"text\n{text}\n".encode(encoding), encoding=encoding, format="csv") == [text]
    write(tmp_path / "folder/x/1.txt", text.encode(encoding))
    assert rows(tmp_path / "folder", encoding=encoding) == [(text, "x")]
    with refused("--encoding"):
        rows(table)


def test_the_wrong_encoding_is_not_taken_in_silence(tmp_path: Path) -> None:
    quotes = write(tmp_path / "a.csv", GOOD.replace("fine", "“fine”").encode("cp1252"))
    with refused("Read it with --encoding cp1252"):
        rows(quotes)
    with refused("byte 0x93 is a control character in latin-1.*--encoding cp1252"):
        rows(quotes, encoding="latin-1")
    with refused(r"b\.csv is UTF-8, not cp1250. Leave out --encoding"):
        rows(write(tmp_path / "b.csv", GOOD.replace("fine", "fíne")), encoding="cp1250")
    with refused("not shift_jis"):
        rows(write(tmp_path / "c.csv", GOOD.encode() + b"\x81\xff,x\n"), encoding="shift_jis")
    with refused("may be UTF-16. Read it with --encoding utf-16-le"):
        rows(write(tmp_path / "d.csv", GOOD.encode("utf-16-le")))
