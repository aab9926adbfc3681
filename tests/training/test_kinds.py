"""Every supported architecture trains, saves and reloads, from a Hugging Face folder, in both precisions."""

from pathlib import Path

import numpy as np
import pytest

from kerora.config import resolve
from kerora.data.rows import Rows
from kerora.data.sources import load_dataset
from kerora.runs.open import load
from kerora.training.fit import fit
from tests.training.test_fit import write_rows

pytest.importorskip("transformers")

from tests.tiny_huggingface import KINDS, tiny_huggingface


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_fit_and_load(kind: str, precision: str, tmp_path: Path) -> None:
    config = resolve(
        {
            "run": "run",
            "runs_dir": str(tmp_path),
            "data.source": str(write_rows(tmp_path / "rows.jsonl", rows=60)),
            "data.test_split": 0.3,
            "model.preset": str(tiny_huggingface(kind, tmp_path / "preset")),
            "model.max_length": 24,
            "model.precision": precision,
            "training.max_steps": 4,
            "training.batch_size": 8,
        }
    )
    result = fit(config)
    assert result.parameters.lora > 0 and len(result.parameters.layers) % 2 == 0
    assert {name.rpartition("/")[2] for name in result.parameters.layers} == {"query", "value"}
    assert all(np.isfinite(row["loss"]) for row in result.history)

    test: Rows = load_dataset(config.data, config.training.seed).splits["test"]
    probabilities = load(result.run.path).predict_probabilities(test)
    lines = result.run.predictions.read_text().splitlines()
    recorded = [line.rsplit(",", 2)[1:] for line in lines if ",test," in line]
    assert [[f"{value:.6f}" for value in row] for row in probabilities] == recorded
