"""`kerora presets` lists what can be named, without a network."""

import json
import re

import pytest

from kerora.cli.main import run


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "kind", "parameters", "source", "description"]
    row = next(line.split() for line in lines if line.split()[0] == "distil_bert_base_en_uncased")
    assert row[:3] == ["distil_bert_base_en_uncased", "distil_bert", "66,362,880"]
    assert lines[-1] == f"{len(lines) - 2} presets"


def test_filter_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["presets", "DeBERTa", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {info["kind"] for info in found} == {"deberta_v3"}
    assert set(found[0]) == {"name", "kind", "parameters", "source", "description"}
    assert run(["presets", "no such thing", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("width", [30, 40, 60, 79, 80, 120])
def test_terminals_of_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert run(["presets", "base_en"]) == 0
    # without the codes that make a name bold
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    found = [info["name"] for info in presets("base_en", capsys)]
    assert len(found) > 5 and all(any(name in line.split() for line in lines) for name in found), "no name is divided"
    # a line is longer only if a name or another single word is
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines), max(lines, key=len)
    assert lines[-1] == f"{len(found)} presets with 'base_en'"


def presets(contains: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    assert run(["presets", contains, "--json"]) == 0
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return found
