"""`kerora predict`: every kind of input and output, streams of any size, nothing half-written."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from kerora.runs.predict import predict_file
from tests.cli.conftest import Kerora, contents, start
from tests.limits import files_up_to
from tests.training.test_fit import write_rows

TEXTS = ["great movie, thanks", 'the worst, "awful" plot\nand late', "é 🙂 <br />", "wonderful " * 40]
COLUMNS = ["id", "label", "score", "p_bad", "p_good"]


@pytest.fixture
def inputs(own: Path) -> Path:
    """The texts in every format, with ids where a format has columns."""
    with (own / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "text", "other"], *([f"n{n}", text, "x"] for n, text in enumerate(TEXTS))])
    rows = [{"id": f"n{n}", "text": text} for n, text in enumerate(TEXTS)]
    (own / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (own / "a.json").write_text(json.dumps(rows))
    with gzip.open(own / "a.jsonl.gz", "wt") as packed:
        packed.write((own / "a.jsonl").read_text())
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), own / "a.parquet")
    lines = [" ".join(text.split()) for text in TEXTS]
    (own / "a.tsv").write_text("id\ttext\n" + "".join(f"n{n}\t{line}\n" for n, line in enumerate(lines)))
    (own / "a.txt").write_text("\n\n".join(lines))
    return own


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.jsonl.gz", "a.parquet", "a.txt"])
def test_every_format_gives_the_same_rows_and_keeps_the_ids(kerora: Kerora, inputs: Path, name: str) -> None:
    answer, expected = kerora("predict", "run", name), kerora("predict", "run", "a.csv")
    assert answer.code == 0 and answer.err == "" and "\r" not in answer.out
    rows = read(answer.out)
    assert list(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == (["1", "3", "5", "7"] if name == "a.txt" else ["n0", "n1", "n2", "n3"])
    numbers = ["label", *COLUMNS[2:]]
    assert [[row[key] for key in numbers] for row in rows] == [
        [row[key] for key in numbers] for row in read(expected.out)
    ]


def test_predictions_equal_those_of_the_run(kerora: Kerora, own: Path) -> None:
    with (own / "run" / "predictions.csv").open(newline="") as stream:
        known = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    (own / "again.jsonl").write_text("".join(json.dumps({"id": r["id"], "text": r["text"]}) + "\n" for r in known))
    rows = read(kerora("predict", "run", "again.jsonl").out)
    assert [(row["id"], row["label"]) for row in rows] == [(row["id"], row["predicted"]) for row in known]
    for row, expected in zip(rows, known, strict=True):
        for key in ("score", "p_bad", "p_good"):
            assert float(row[key]) == pytest.approx(float(expected[key]), abs=2e-6)


def test_outputs(kerora: Kerora, inputs: Path) -> None:
    printed = kerora("predict", "run", "a.csv").out
    answer = kerora("predict", "run", "a.csv", "-o", "out/b.csv")
    assert (answer.code, answer.out, answer.err) == (0, "", "4 rows: out/b.csv\n")
    assert (inputs / "out" / "b.csv").read_text() == printed
    assert kerora("predict", "run", "a.csv", "--output", "out/b.JSONL").code == 0
    rows = [json.loads(line) for line in (inputs / "out" / "b.JSONL").read_text().splitlines()]
    assert [list(row) for row in rows] == [COLUMNS] * 4
    for row, line in zip(rows, read(printed), strict=True):
        assert {key: row[key] if key in ("id", "label") else f"{row[key]:.6f}" for key in COLUMNS} == line
    assert kerora("predict", "run", "a.csv", "-o", "out/b.txt", "--output-format", "jsonl").code == 0
    assert (inputs / "out" / "b.txt").read_text() == (inputs / "out" / "b.JSONL").read_text()
    assert not list(inputs.rglob("*.tmp"))


def test_submission(kerora: Kerora, inputs: Path) -> None:
    lines = kerora("predict", "run", "a.csv", "--submission").out.splitlines()
    assert lines[0] == "id,label" and [line.split(",")[0] for line in lines[1:]] == ["n0", "n1", "n2", "n3"]
    rows = kerora("predict", "run", "a.csv", "--submission", "--output-format", "jsonl").out.splitlines()
    assert [list(json.loads(row)) for row in rows] == [["id", "label"]] * 4


def test_odd_ids_survive_csv(kerora: Kerora, own: Path) -> None:
    ids = ['a"b', "c,d", "e\nf", "g\rh", "é", " "]
    (own / "ids.jsonl").write_text("".join(json.dumps({"id": name, "text": "late"}) + "\n" for name in ids))
    assert [row["id"] for row in read(kerora("predict", "run", "ids.jsonl").out)] == ids


def piped(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    raw = io.BytesIO(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))


@pytest.mark.parametrize(
    ("content", "options", "ids"),
    [
        ("great movie\n\nworst plot", [], ["1", "3"]),
        (b"\xef\xbb\xbfgreat movie\r\n", [], ["1"]),
        ('\n{"text": "great", "id": 7}\n{"text": "late", "id": "x"}\n', [], ["7", "x"]),
        ('{"body": "great"}\n', ["--text", "body"], ["1"]),
        ("id;text\n5;great\n", ["--delimiter", ";"], ["5"]),
        ("5,great\n", ["--columns", "id,text"], ["5"]),
    ],
)
def test_standard_input(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, options: list[str], ids: list[str]
) -> None:
    piped(monkeypatch, content)
    answer = kerora("predict", "run", *options)
    assert answer.code == 0, answer.err
    assert [row["id"] for row in read(answer.out)] == ids


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "the input is empty"), (b"caf\xe9\n", "byte 0xE9 is not UTF-8"), ('{"text": 3}\n', "non-string text")],
)
def test_bad_standard_input(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, message: str
) -> None:
    piped(monkeypatch, content)
    assert message in kerora("predict", "run", "-").error


def test_a_run_made_from_a_file_with_semicolons_reads_plain_text(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = (own / "run" / "config.yaml").read_text().replace("delimiter: null", "delimiter: ;")
    (own / "run" / "config.yaml").write_text(config)
    piped(monkeypatch, "great; really\n")
    assert [row["id"] for row in read(kerora("predict", "run").out)] == ["1"]


def test_refusals_change_nothing(kerora: Kerora, inputs: Path) -> None:
    (inputs / "empty.csv").write_text("")
    (inputs / "header.csv").write_text("id,text\n")
    (inputs / "late.csv").write_text("text\n" + "fine\n" * 1500 + '" "\n')
    (inputs / "old.csv").write_text("old")
    before = contents(inputs)
    for words, message in {
        "run nofile.csv": "There is no file nofile.csv",
        "run empty.csv": "empty.csv is empty",
        "run a.csv --text body": "did not find the column 'body'. Its columns: id, text, other",
        "run a.csv -o old.csv": "old.csv exists. Choose another --output or add --force",
        "run a.csv -o out.txt": "The output must end in .csv or .jsonl, or name the form with --output-format",
        "run a.csv -o a.csv/out.csv": "a part of its path is a file",
        "run a.csv -o preset --force --output-format csv": "preset: it is not a regular file",
        "run a.csv --batch-size 0": "Invalid value for '--batch-size'",
        "run late.csv -o late-out.csv": "late.csv: 1 row cannot be used: row 1501 (line 1502) has an empty text",
        "run late.csv -o old.csv --force": "row 1501 (line 1502) has an empty text in 'text'",
        "preset a.csv": "preset is not a run folder",
        "nowhere a.csv": "There is no run folder at nowhere",
    }.items():
        error = kerora("predict", *words.split()).error
        assert message in error, error
        assert contents(inputs) == before, words
    assert kerora("predict", "run", "late.csv", "-o", "old.csv", "--force", "--skip-bad-rows").code == 0
    assert len((inputs / "old.csv").read_text().splitlines()) == 1501


FAULTS = 'id,text\n1,great movie\n2, \n3,"a"b\n4,late\n'


def test_skipped_rows_are_counted_and_listed(kerora: Kerora, own: Path) -> None:
    (own / "faults.csv").write_text(FAULTS)
    error = kerora("predict", "run", "faults.csv", "--bad-rows", "bad.csv", "-o", "no.csv").error
    assert "faults.csv: 1 row cannot be used: row 2 (line 3) has an empty text in 'text'" in error
    answer = kerora("predict", "run", "faults.csv", "--skip-bad-rows", "--bad-rows", "bad.csv", "-o", "out.csv")
    assert answer.code == 0
    assert answer.err == (
        "Skipped: 2 of 4 rows (has an empty text in 'text': 1, is not valid CSV: 1)\n2 rows: out.csv\n"
    )
    assert (own / "bad.csv").read_text().splitlines()[1:] == [
        "faults.csv,row 2 (line 3),has an empty text in 'text'",
        "faults.csv,row 3 (line 4),is not valid CSV: text follows a closing quote",
    ]


def test_a_submission_lacks_no_row(kerora: Kerora, own: Path) -> None:
    (own / "empty.csv").write_text(FAULTS.replace('"a"b', "a"))
    error = kerora("predict", "run", "empty.csv", "--skip-bad-rows", "--submission", "-o", "out.csv").error
    assert "A submission needs every row, but some cannot be used (has an empty text in 'text': 1)" in error
    assert not (own / "out.csv").exists()
    answer = kerora("predict", "run", "empty.csv", "--submission", "--fill", "good")
    rows = read(answer.out)
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"] and rows[1]["label"] == "good"
    assert answer.err == "Filled with good: 1 of 4 rows (has an empty text in 'text': 1)\n"
    assert (
        "--fill 'god' is no class of the run. Did you mean 'good'"
        in kerora("predict", "run", "empty.csv", "--submission", "--fill", "god").error
    )
    assert "Add --submission" in kerora("predict", "run", "empty.csv", "--fill", "good").error
    (own / "faults.csv").write_text(FAULTS)
    error = kerora("predict", "run", "faults.csv", "--submission", "--fill", "good", "-o", "out.csv").error
    assert "A submission needs every row" in error


def test_tables_are_not_read_as_lines(kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "semicolon.csv").write_text("id;message\n7;great\n")
    answer = kerora("predict", "run", "semicolon.csv")
    assert [row["id"] for row in read(answer.out)] == ["7"] or "message" in answer.error
    (own / "bare.csv").write_text("great movie\nlate again\n")
    assert "great movie" in kerora("predict", "run", "bare.csv").error
    assert len(read(kerora("predict", "run", "bare.csv", "--columns", "text").out)) == 2
    piped(monkeypatch, "id,text\n5,great\n")
    assert "Add --format csv" in kerora("predict", "run").error
    piped(monkeypatch, "id,text\n5,great\n")
    assert [row["id"] for row in read(kerora("predict", "run", "--format", "csv").out)] == ["5"]
    piped(monkeypatch, '[{"id": 6, "text": "great"},\n {"id": 7, "text": "late"}]')
    assert [row["id"] for row in read(kerora("predict", "run").out)] == ["6", "7"]
    (own / "quotes.csv").write_bytes("text\nit’s late\n".encode("cp1252"))
    assert "--encoding cp1252" in kerora("predict", "run", "quotes.csv").error
    assert len(read(kerora("predict", "run", "quotes.csv", "--encoding", "cp1252").out)) == 1


def test_nothing_but_a_header_gives_nothing_but_a_header(kerora: Kerora, own: Path) -> None:
    (own / "header.csv").write_text("id,text\n")
    answer = kerora("predict", "run", "header.csv")
    assert answer.out == ",".join(COLUMNS) + "\n" or "header.csv" in answer.error


@pytest.mark.parametrize("size", [0, 30_000])
def test_a_full_disk_leaves_no_half_file(kerora: Kerora, own: Path, size: int) -> None:
    write_rows(own / "many.jsonl", rows=2_000)
    before = contents(own)
    with files_up_to(size):
        answer = kerora("predict", "run", "many.jsonl", "-o", "out.csv")
    assert "Cannot write out.csv: File too large. Free space" in answer.error
    assert contents(own) == before


class Endless(io.RawIOBase):
    """20,000 lines that are made when they are read, and a note of how far ahead that is."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.made = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.made == self.rows:
            return 0
        self.made += 1
        line = f"great movie number {self.made} {'story ' * (self.made % 9)}\n".encode()
        buffer[: len(line)] = line
        return len(line)


class Sink(io.StringIO):
    """Counts lines, and how many rows were read before each was written."""

    def __init__(self, source: Endless) -> None:
        super().__init__()
        self.source = source
        self.lines = 0
        self.furthest = 0

    def write(self, text: str) -> int:
        self.lines += 1
        self.furthest = max(self.furthest, self.source.made - self.lines)
        return len(text)


def test_20000_rows_stream_in_bounded_memory(own: Path) -> None:
    source = Endless(20_000)
    sink = Sink(source)
    assert predict_file("run", io.BufferedReader(source), stream=sink, batch_size=64) == 20_000
    assert sink.lines == 20_001
    # rows are held for one pool of batches, and for what the buffered reader reads ahead
    assert sink.furthest < 2_000


class Stopped(Endless):
    """Asks the process to stop in the middle of the input."""

    def __init__(self, rows: int, number: signal.Signals) -> None:
        super().__init__(rows)
        self.number = number

    def readinto(self, buffer: Any) -> int:
        if self.made == self.rows // 2:
            os.kill(os.getpid(), self.number)
        return super().readinto(buffer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_half_file(
    kerora: Kerora, own: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    (own / "out.csv").write_text("old")
    before = contents(own)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Stopped(3_000, number))))
    answer = kerora("predict", "run", "-", "-o", "out.csv", "--force")
    assert (answer.code, answer.out, answer.err) == (128 + number, "", "Error: Interrupted.\n")
    assert contents(own) == before


def test_a_reader_that_goes_away(own: Path) -> None:
    """`cat many.jsonl | kerora predict run | head -1` in real processes."""
    write_rows(own / "many.jsonl", rows=4_000)
    with open("many.jsonl", "rb") as source:
        process = start("predict", "run", stdin=source, stdout=subprocess.PIPE, cwd=own)
        assert process.stdout is not None and process.stdout.readline() == b"id,label,score,p_bad,p_good\n"
        process.stdout.close()
        assert process.stderr is not None and process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--abstain-below", "1.01"], "--abstain-below must be a number from 0 to 1. Received: 1.01"),
        (["--target-accuracy", "nan"], "--target-accuracy must be a number from 0 to 1. Received: nan"),
        (["--abstain-below", "0.5", "--target-accuracy", "0.9"], "both give the threshold. Leave one out."),
        (
            ["--target-accuracy", "0.9"],
            "--target-accuracy needs at least 100 validation rows, but run was trained with",
        ),
    ],
)
def test_thresholds_that_cannot_be_are_one_line(kerora: Kerora, inputs: Path, options: list[str], message: str) -> None:
    assert message in kerora("predict", "run", "a.csv", *options).error
    assert message in kerora("evaluate", "run", *options).error


def test_labels_below_a_threshold_are_empty_in_every_form(kerora: Kerora, inputs: Path) -> None:
    scores = [float(row["score"]) for row in read(kerora("predict", "run", "a.csv").out)]
    threshold = sorted(scores)[2]
    answer = kerora("predict", "run", "a.csv", "--abstain-below", str(threshold))
    assert answer.err == f"Note: 2 of 4 rows have no label: their score is below {threshold:.6g}.\n"
    empty = [row["label"] == "" for row in read(answer.out)]
    assert empty == [score < threshold for score in scores]
    short = kerora("predict", "run", "a.csv", "--abstain-below", str(threshold), "--submission")
    assert [row["label"] == "" for row in read(short.out)] == empty and short.out.startswith("id,label\n")
    lines = kerora("predict", "run", "a.csv", "--abstain-below", str(threshold), "--output-format", "jsonl").out
    assert [json.loads(line)["label"] is None for line in lines.splitlines()] == empty
