"""Closed standard streams, and encodings that lack a character."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kerora.cli.chat import _line
from kerora.errors import DataError
from tests.cli.conftest import contents
from tests.conftest import ROOT


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line with its redirections in the shell."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "KERORA": f"{sys.executable} -m kerora", **environment}
    return subprocess.run(["bash", "-c", line.replace("kerora ", "$KERORA ")], env=variables, capture_output=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> Path:
    """A folder with a run whose classes are signs that cp1252 and ASCII lack."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = [{"text": f"words {number}", "label": "\N{SNOWMAN}\N{PILE OF POO}"[number % 2]} for number in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = "--epochs 1 --max-length 16 --test-split 0.2 --batch-size 8"
    done = shell(
        f"cd {folder} && kerora fit --preset {tiny_preset} --data rows.jsonl --run ./run {sizes}",
        PYTHONIOENCODING="cp1252",
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("command", "encoding"), [("report run", "cp1252"), ("data show rows.jsonl", "ascii"), ("evaluate run", "cp1252")]
)
def test_a_screen_shows_escapes_and_says_so(pictures: Path, command: str, encoding: str) -> None:
    done = shell(f"cd {pictures} && kerora {command}", PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    if b"\\u2603" in done.stdout:
        assert f"has the encoding {encoding}. Characters that it lacks are shown as escapes" in done.stderr.decode()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_results_for_programs_hold_no_escapes(pictures: Path, form: str) -> None:
    command = f"cd {pictures} && kerora predict run rows.jsonl --output-format {form}"
    refused = shell(command, PYTHONIOENCODING="cp1252")
    assert refused.returncode == 2 and refused.stderr.decode().count("\n") == 1
    assert refused.stderr.startswith(b"Error: Standard output has the encoding cp1252, which lacks '\\")
    for remedy in (f"--output {form}.{form}", ""):
        encoding = "cp1252" if remedy else "utf-8"
        done = shell(f"{command} {remedy} && cat {form}.{form}", PYTHONIOENCODING=encoding)
        assert done.returncode == 0 and "\N{SNOWMAN}" in done.stdout.decode(), done.stderr


def test_closed_streams(workshop: Path) -> None:
    for line, message in (
        ("kerora predict run <&-", "Standard input is closed. Name a file, or pipe text into the command."),
        ("kerora chat run <&-", "Standard input is closed."),
        ("kerora predict run rows.jsonl >&-", "Standard output is closed. Give a file with --output."),
    ):
        done = shell(f"cd {workshop} && {line}")
        assert done.returncode == 2 and done.stderr.decode().startswith(f"Error: {message}"), done.stderr
    for closed in ("<&-", ">&-", "2>&-"):
        done = shell(f"cd {workshop} && kerora data show rows.jsonl {closed}")
        assert done.returncode == 0 and done.stderr == b"", done.stderr


def test_a_closed_number_is_not_given_to_a_file(own: Path) -> None:
    """What is printed must not end up in the next file that is opened."""
    before = contents(own)
    done = shell(f"cd {own} && kerora evaluate run --test rows.jsonl <&- >&- 2>&-")
    assert done.returncode == 0
    assert {name: data for name, data in contents(own).items() if name in before and "metrics" not in name} == {
        name: data for name, data in before.items() if "metrics" not in name
    }


def test_input_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9\n")
    with path.open(encoding="utf-8") as lines, pytest.raises(DataError, match=r"is not utf-8: byte 0xe9\. Set PYTHON"):
        _line(lines)
    with path.open(encoding="latin-1") as lines:
        assert _line(lines) == "caf\N{LATIN SMALL LETTER E WITH ACUTE}\n"
