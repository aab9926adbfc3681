"""Runs of an earlier version open, compute what they computed, and go through today's commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kerora
from kerora.cli.main import run
from kerora.runfolder import RunFolder
from kerora.runs.results import read_results
from tests.conftest import ROOT
from tests.fixtures.make_old_runs import TEXTS

OLD = ROOT / "tests" / "fixtures" / "old_runs"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def test_a_classifier_has_the_same_logits(old: Path) -> None:
    wanted = json.loads((old / "logits.json").read_text(encoding="utf-8"))["classifier"]
    model = kerora.load("classifier", "encoder")
    assert np.abs(model.predict_logits(TEXTS) - np.array(wanted)).max() < 1e-5


def test_a_language_model_has_the_same_logits(old: Path) -> None:
    wanted = json.loads((old / "logits.json").read_text(encoding="utf-8"))["language"]
    model = kerora.load("language", "decoder")
    found = model.logits(model.encode(TEXTS))[:, 1].detach().numpy()
    assert np.abs(found - np.array(wanted)).max() < 1e-5


@pytest.mark.parametrize(("name", "preset"), [("classifier", "encoder"), ("language", "decoder")])
def test_it_is_reported_and_evaluated(old: Path, name: str, preset: str) -> None:
    before = read_results(RunFolder(name)).after
    assert run(["report", name]) == 0
    assert run(["evaluate", name, "--preset", preset]) == 0
    after = read_results(RunFolder(name)).after
    assert set(before) == set(after) == {"validation", "test"}
    assert all(abs(before[split]["loss"] - after[split]["loss"]) < 1e-5 for split in before)


def test_its_adapter_can_be_trained_further(old: Path) -> None:
    fit = ["fit", "--data", "rows.csv", "--preset", "encoder", "--from-adapter", "classifier/adapter", "--quiet"]
    assert run([*fit, "--max-steps", "2", "--max-length", "16", "--batch-size", "4", "--run", "./more"]) == 0
