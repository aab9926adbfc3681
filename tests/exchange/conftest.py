"""Runs of several kinds, trained once each, and the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kerora.config import resolve
from kerora.runfolder import RunFolder
from kerora.training.fit import fit
from tests.cli.conftest import Kerora, kerora
from tests.tiny_huggingface import tiny_huggingface
from tests.training.test_fit import write_rows

__all__ = ["Kerora", "Trained", "kerora", "shallow", "trained"]
Trained = Callable[..., RunFolder]
LAYERS = {"distil_bert": "n_layers", "gpt2": "n_layer"}


@pytest.fixture(scope="session")
def shallow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function from a kind to a preset of one layer: torch's exporter needs seconds for each layer."""
    folder = tmp_path_factory.mktemp("shallow")

    def preset(kind: str) -> str:
        if not (folder / kind).exists():
            layers = {LAYERS.get(kind, "num_hidden_layers"): 1}
            tiny_huggingface(kind, folder / kind, layout="old", initializer_range=0.1, **layers)
        return str(folder / kind)

    return preset


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> Trained:
    """Return a finished run of a kind, or on the tiny Keras preset; equal settings give the same run."""
    made: dict[str, RunFolder] = {}
    folder = tmp_path_factory.mktemp("trained")
    rows = write_rows(folder / "rows.jsonl", rows=100)

    def run(kind: str, **changes: Any) -> RunFolder:
        key = f"{kind}-{sorted(changes.items())}"
        if key not in made:
            # with the old tokenizer files, because KerasHub needs them for a SentencePiece model
            preset = tiny_preset if kind == "keras" else folder / kind
            if not preset.exists() and "model__preset" not in changes:
                tiny_huggingface(kind, preset, layout="old", initializer_range=0.1)
            settings = {
                "run": f"run{len(made)}",
                "runs_dir": str(folder),
                "data.source": str(rows),
                "data.test_split": 0.4,
                "model.preset": str(preset),
                "model.max_length": 24,
                "model.precision": "float32",
                "training.epochs": 1,
                "training.learning_rate": 0.01,
            }
            made[key] = fit(resolve(settings, {name.replace("__", "."): value for name, value in changes.items()})).run
        return made[key]

    return run
