"""`kerora presets` lists what can be named, without a network."""

import json

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
