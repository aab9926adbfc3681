"""The benchmarks of few labels on a tiny preset: the same rows for all methods, and tables of what was found."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from benchmarks import active, few_labels
from kerora.data.sources import load_dataset


@pytest.fixture
def arguments(tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kerora.training.contrastive.UPDATES", 3)
    monkeypatch.setattr("kerora.training.fit.default_epochs", lambda updates: 1)
    monkeypatch.setattr("kerora.training.defaults.default_epochs", lambda updates: 1)
    sizes = {"rows": [2], "seeds": 1, "start": 12, "step": 6, "rounds": 2}
    return argparse.Namespace(data="tickets", preset=str(tiny_preset), **sizes)


def test_every_method_is_measured(arguments: argparse.Namespace) -> None:
    lines: list[str] = []
    results = few_labels.measure(arguments, lines.append)
    assert [result["method"] for result in results] == [*few_labels.METHODS, "tfidf"] and len(lines) == len(results)
    assert all(0 <= result["accuracy"] <= 1 and result["seconds"] > 0 for result in results)
    text = few_labels.table(results)
    assert text.count("\n") == len(results) + 1 and "| contrastive |" in text


def test_a_sample_has_the_same_number_of_each_class() -> None:
    rows = load_dataset("tickets")["train"]
    found = few_labels.sample(rows, 3, 0)
    assert np.bincount(np.asarray(found.targets)).tolist() == [3] * 6
    assert list(found.texts) == list(few_labels.sample(rows, 3, 0).texts) != list(few_labels.sample(rows, 3, 1).texts)


def test_a_simulation_gives_both_curves(arguments: argparse.Namespace) -> None:
    curves = active.measure(arguments, lambda text: None)
    assert [[count for count, _ in runs[0]] for runs in curves.values()] == [[12, 18]] * 2
    assert curves["margin"][0][0] == curves["random"][0][0]
    assert active.table(curves).count("\n") == 3
