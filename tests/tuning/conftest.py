"""Rows, a preset and settings for searches that take seconds."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.test_fit import write_rows

SPACE = {
    "lora.rank": [2, 4, 8],
    "training.learning_rate": {"low": 1e-3, "high": 5e-2, "log": True},
    "lora.dropout": {"low": 0.0, "high": 0.2},
}


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a short fit on 120 rows, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return short_fit(tiny_preset)


def short_fit(preset: Path) -> dict[str, Any]:
    """Write the rows into the working directory, and return the settings."""
    write_rows(Path("rows.jsonl"), rows=120)
    return {
        "data.source": "rows.jsonl",
        "data.validation_split": 0.25,
        "model.preset": str(preset),
        "model.max_length": 24,
        "model.precision": "float32",
        "training.batch_size": 24,
        "training.learning_rate": 0.01,
        "training.epochs": 2,
    }
