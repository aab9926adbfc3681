"""Runs of several kinds, trained once each, and the command line."""

import sys
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

__all__ = ["Kerora", "Trained", "kerora", "operators_read_once", "shallow", "trained"]
Trained = Callable[..., RunFolder]
EXPORTER = "torch.onnx._internal.exporter._registration"
OPERATORS: dict[int, Any] = {}
LAYERS = {"distil_bert": "n_layers", "gpt2": "n_layer"}


@pytest.fixture(autouse=True)
def operators_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the ONNX operators once: each export of torch parses the source code of all of them again.

    This holds in the tests after the first one that has imported the exporter. The others need not wait for its import.
    """
    if EXPORTER not in sys.modules:
        return
    registry = sys.modules[EXPORTER].ONNXRegistry
    read = registry.from_torchlib

    def from_torchlib(opset_version: int) -> Any:
        if opset_version not in OPERATORS:
            OPERATORS[opset_version] = read(opset_version)
        return OPERATORS[opset_version]

    monkeypatch.setattr(registry, "from_torchlib", staticmethod(from_torchlib))


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
