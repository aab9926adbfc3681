"""Several adapters on one base model: switched, disabled, mixed in one batch. Each gives the same as without others."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.data.rows import Rows
from kerora.errors import AdapterError, ConfigError
from kerora.models.classifier import TextClassifier
from kerora.runs.open import load
from tests.exchange.conftest import Trained
from tests.exchange.test_export import TEXTS, logits
from tests.training.test_fit import write_rows

VARIANTS: list[dict[str, Any]] = [
    {},
    {"lora__targets": "all-linear", "lora__rank": 3, "lora__use_dora": True},
    {"lora__bias": "all", "lora__modules_to_save": "feedforward_layer_norm"},
]


@pytest.fixture
def runs(trained: Trained, tmp_path: Path) -> dict[str, Path]:
    """Runs on one base: three variants, and one with three classes."""
    found = {f"a{number}": trained("bert", **options).path for number, options in enumerate(VARIANTS)}
    rows = write_rows(tmp_path / "three.jsonl", rows=60).read_text().splitlines()
    changed = [line.replace('"bad"', '"worse"') if number % 3 == 0 else line for number, line in enumerate(rows)]
    (tmp_path / "three.jsonl").write_text("\n".join(changed))
    found["wide"] = trained("bert", run=str(tmp_path / "wide"), data__source=str(tmp_path / "three.jsonl")).path
    return found


def snapshot(model: TextClassifier) -> list[bytes]:
    return [v.value.detach().numpy().tobytes() for v in model.backbone.variables if "lora" not in v.name]


def test_switching_and_mixing_equal_each_alone(runs: dict[str, Path]) -> None:
    rows = Rows(TEXTS * 4, [""] * 12)
    alone = {name: load(run) for name, run in runs.items()}
    expected = {name: model.predict_logits(rows) for name, model in alone.items()}
    model = load(runs["a0"])
    for name in ("a1", "a2", "wide"):
        model.load_adapter(runs[name], name)
    assert np.array_equal(model.predict_logits(rows), expected["a0"]), "loading does not switch"
    for name in ("a1", "a2", "wide", "a1"):
        model.set_adapter(name)
        assert model.classes == alone[name].classes
        assert np.abs(model.predict_logits(rows) - expected[name]).max() < 1e-6
        assert {v.path for v in model.trainable_variables} == {v.path for v in alone[name].trainable_variables}
    model.set_adapter("default")
    assert np.array_equal(model.predict_logits(rows), expected["a0"])

    names = ["default", "a1", "wide", "a2", "wide", "default"] * 2
    mixed = model.predict_logits(rows, adapter=names)
    for number, name in enumerate(names):
        row = expected["a0" if name == "default" else name][number]
        assert np.abs(mixed[number, : len(row)] - row).max() < 1e-5
        assert np.isneginf(mixed[number, len(row) :]).all()
    labels = model.predict_labels(rows.texts, adapter=names)
    assert labels[2] == alone["wide"].predict_labels(rows.texts)[2]
    assert np.array_equal(model.predict_logits(rows), expected["a0"]), "a mixed batch leaves the model as it was"


def test_disabling_gives_the_base_and_the_base_is_never_touched(runs: dict[str, Path]) -> None:
    base = TextClassifier.from_preset(load(runs["a0"]).preset, 2, max_length=24, seed=1)
    inputs = base.encode(TEXTS)
    features = base.backbone(inputs)["sequence_output"].detach().numpy()
    model = load(runs["a2"])  # its biases and norms were trained
    before = snapshot(base)
    model.load_adapter(runs["a1"], "other")
    with model.disable_adapter():
        assert snapshot(model) == before
        assert np.array_equal(model.backbone(inputs)["sequence_output"].detach().numpy(), features)
    assert snapshot(model) != before


def test_switching_takes_under_a_millisecond(runs: dict[str, Path]) -> None:
    model = load(runs["a0"])
    model.load_adapter(runs["a1"], "b")
    times = []
    for name in ("b", "default") * 50:
        start = time.perf_counter()
        model.set_adapter(name)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 1e-3


def test_a_refused_adapter_changes_nothing(runs: dict[str, Path], trained: Trained, tmp_path: Path) -> None:
    model = load(runs["a0"])
    inputs = model.encode(TEXTS)
    model.load_adapter(runs["a1"], "b")
    before = logits(model, inputs)
    with pytest.raises(AdapterError, match="trained on a base model with fingerprint"):
        model.load_adapter(trained("distil_bert").path, "c")
    with pytest.raises(ConfigError, match="adapter 'b' already"):
        model.load_adapter(runs["a1"], "b")
    with pytest.raises(ConfigError, match="There is no adapter 'x'. Loaded: 'default', 'b'"):
        model.set_adapter("x")
    with pytest.raises(ConfigError, match="a name for each of the 3 rows. Received: 1"):
        model.predict_labels(TEXTS, adapter=["b"])
    assert np.array_equal(logits(model, inputs), before) and model.classes == ("bad", "good")
    model.set_adapter("b")
    assert np.abs(logits(model, inputs) - logits(load(runs["a1"]), inputs)).max() < 1e-6
