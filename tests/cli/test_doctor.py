"""`kerora doctor` names what is wrong and what to do, and says so with its exit code."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Kerora


def test_findings(kerora: Kerora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERORA_CACHE", str(tmp_path / "[bold]cache"))
    answer = kerora("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(answer.out)}
    assert {"python", "torch", "keras", "keras backend", "device", "precision 'auto'", "free disk here"} <= set(
        findings
    )
    assert findings["token cache"]["found"] == str(tmp_path / "[bold]cache")
    assert findings["keras backend"]["found"] == "torch"
    lean = importlib.util.find_spec("tensorflow") is None
    assert findings["tensorflow"]["found"].endswith("not installed (lean installation)" if lean else "but not used")
    assert findings["computed by"]["found"].startswith("kerora.fast")
    assert all(finding["good"] != bool(finding["remedy"]) for finding in findings.values())
    assert answer.code == (0 if all(finding["good"] for finding in findings.values()) else 2)


def test_the_side_that_computes(kerora: Kerora, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERORA_PLAIN", "1")
    findings = {finding["what"]: finding for finding in json.loads(kerora("doctor", "--json").out)}
    assert findings["computed by"]["found"] == "Keras' own layers, plainly (KERORA_PLAIN=1)"


def test_what_is_wrong_is_marked_and_exits_2(kerora: Kerora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerora.doctor.LEAST_FREE_GB", 1e9)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("KERORA_CACHE", str(tmp_path / "[bold]cache"))
    answer = kerora("doctor")
    assert answer.code == 2 and answer.err == ""
    assert "[bold]cache" in answer.out
    line = next(line for line in answer.out.splitlines() if "free disk here" in line)
    assert line.strip().startswith("!!") and "Free 1000000000 GB or work in a folder on another disk." in line
