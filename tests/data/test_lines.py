import gzip
import io

import pytest

from kerora.data.lines import Lines, open_lines
from kerora.errors import DataError


def test_yields_lines_with_their_ends_and_without_the_byte_order_mark():
    lines = Lines(io.BytesIO("\ufeffä\r\nb\u2028c\n\nd".encode()), "f")
    assert list(lines) == ["ä\r\n", "b\u2028c\n", "\n", "d"]
    assert lines.line == 4


def test_looking_ahead_consumes_nothing_and_keeps_line_numbers():
    lines = Lines(io.BytesIO(b"\n  \n{a\nb\n"), "f")
    assert lines.first_lines() == ["{a"]
    assert list(lines) == ["\n", "  \n", "{a\n", "b\n"]
    assert lines.line == 4


def test_looking_ahead_in_nothing_finds_nothing():
    assert Lines(io.BytesIO(b"\n \n"), "f").first_lines() == []


def test_a_foreign_encoding_names_byte_offset_and_row():
    content = "text\nok\ncafé\n".encode("latin-1")
    lines = Lines(io.BytesIO(content), "f.csv")
    assert next(lines) == "text\n"
    lines.row = 1
    next(lines)
    with pytest.raises(DataError, match=r"f\.csv, row 2 \(line 3\), byte offset 11: byte 0xE9 .*--encoding cp1252"):
        next(lines)
    assert content[11] == 0xE9


def test_the_offset_counts_the_byte_order_mark():
    content = b"\xef\xbb\xbfab\xff\n"
    with pytest.raises(DataError, match=r"byte offset 5: byte 0xFF"):
        list(Lines(io.BytesIO(content), "f"))


def test_utf16_is_recognised_by_its_mark():
    with pytest.raises(DataError, match=r"byte offset 0: .*--encoding utf-16"):
        list(Lines(io.BytesIO("text".encode("utf-16")), "f"))


def test_a_nul_byte_is_located():
    with pytest.raises(DataError, match=r"line 2, byte offset 4: a NUL byte"):
        list(Lines(io.BytesIO(b"ab\nc\0d\n"), "f"))


def test_gzip_is_read_and_a_cut_file_is_damaged(tmp_path):
    whole = gzip.compress(b"one\ntwo\n" * 5000)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(whole)
    with open_lines(path) as lines:
        assert sum(1 for _ in lines) == 10000
    for damaged in (whole[:-12], whole[:20] + b"\xff" * 30 + whole[50:]):
        path.write_bytes(damaged)
        with open_lines(path) as lines, pytest.raises(DataError, match=r"damaged compressed file after line"):
            list(lines)


def test_an_unreadable_path_is_one_error(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read"), open_lines(tmp_path):
        pass
