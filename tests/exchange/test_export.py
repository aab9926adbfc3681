"""Every export is loaded by its tool and gives the run's logits; a failed one leaves nothing."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.errors import ConfigError, PresetError, RunError
from kerora.exchange import export, onnx_file
from kerora.exchange.export import export_run
from kerora.models.classifier import TextClassifier
from kerora.runfolder import RunFolder
from kerora.runs.open import load
from tests.conftest import ROOT
from tests.exchange.conftest import Kerora, Trained
from tests.tiny_huggingface import KINDS

keras_hub = import_keras_hub()
pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
Shallow = Callable[[str], str]
TEXTS = ["great movie love it", "terrible order broken", "the plot was wrong and the story late"]


def logits(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(inputs, training=False).float())


@pytest.mark.parametrize("form", ["peft", "transformers", "kerora"])
@pytest.mark.parametrize("kind", [*KINDS, "keras"])
def test_exports_of_every_kind_are_verified(kind: str, form: str, trained: Trained, tmp_path: Path) -> None:
    found = export_run(str(trained(kind).path), form, tmp_path / "out")
    assert found.tool and found.rows == 32 and found.largest_difference is not None
    assert found.largest_difference < 1e-4 and found.agreement == 1.0
    assert found.text_agreement in (None, 1.0)
    assert json.loads((tmp_path / "out" / "verification.json").read_text())["largest_difference"] < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def exported_to_keras(run: RunFolder, out: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Export a run, check what was found, and return its model with inputs to compare on."""
    found = export_run(str(run.path), "keras", out)
    assert found.agreement == 1.0 and found.text_agreement is not None and found.text_agreement > 0.9
    model = load(run.path)
    return model, model.encode(TEXTS)


@pytest.mark.parametrize("kind", ["distil_bert", "bert", "roberta", "xlm_roberta", "albert", "deberta_v3", "keras"])
def test_plain_keras_hub_loads_the_keras_export(kind: str, trained: Trained, tmp_path: Path) -> None:
    model, inputs = exported_to_keras(trained(kind), tmp_path / "out")
    with without_tensorflow():
        plain = keras_hub.models.TextClassifier.from_preset(str(tmp_path / "out"))
    tolerance = 0.05 if kind == "bert" else 1e-4  # KerasHub's BERT has no exact GELU
    assert (
        np.abs(
            logits(plain, {k: v for k, v in inputs.items() if k in plain.backbone.input}) - logits(model, inputs)
        ).max()
        < tolerance
    )
    again = TextClassifier.from_preset(str(tmp_path / "out"), max_length=24)
    assert np.abs(logits(again, inputs) - logits(model, inputs)).max() < 1e-4, "Kerora restores the exact GELU"


@pytest.mark.slow
def test_plain_keras_hub_in_a_process_without_kerora(trained: Trained, tmp_path: Path) -> None:
    export_run(str(trained("distil_bert").path), "keras", tmp_path / "out")
    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'torch'\nimport keras_hub, sys\n"
        f"model = keras_hub.models.TextClassifier.from_preset({str(tmp_path / 'out')!r})\n"
        "print(model.predict(['great movie love it', 'terrible order broken']).shape)\n"
        "assert 'kerora' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "(2, 2)" in done.stdout, done.stderr[-2000:]


def slow(*kinds: str) -> list[Any]:
    return [pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.slow
def test_exports_do_not_load_tensorflow(trained: Trained, shallow: Shallow, tmp_path: Path) -> None:
    run, out = str(trained("distil_bert", model__preset=shallow("distil_bert")).path), str(tmp_path)
    code = (
        "import sys\nfrom kerora.cli.main import run\n"
        "for form in ('keras', 'transformers', 'peft', 'onnx'):\n"
        f"    assert run(['export', {run!r}, '--format', form, '--output', {out!r} + '/' + form]) == 0\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("kind", ["electra", "gpt2"])
def test_kinds_without_a_classifier_in_keras_hub(kind: str, trained: Trained, tmp_path: Path) -> None:
    model, inputs = exported_to_keras(trained(kind), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace("DIR", str(tmp_path / "out"))
    scope: dict[str, Any] = {}
    with without_tensorflow():
        exec(code.replace("a text", TEXTS[2]).replace("print(", "logits = ("), scope)
    tolerance = 0.05 if kind == "electra" else 1e-4  # KerasHub's ELECTRA has no exact GELU
    assert np.abs(np.asarray(scope["logits"].detach()) - logits(model, inputs)[2]).max() < tolerance
    again = TextClassifier.from_preset(str(tmp_path / "out"), max_length=24)
    assert again.classes == ("bad", "good")
    assert np.abs(logits(again, inputs) - logits(model, inputs)).max() < 1e-4


@pytest.mark.parametrize("kind", ["bert", "keras", "xlm_roberta", *slow("deberta_v3", "gpt2")])
def test_onnx_runs_with_any_batch_and_length(kind: str, trained: Trained, shallow: Shallow, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    # two layers once: those of the other kinds repeat as well
    run = trained(kind) if kind == "keras" else trained(kind, model__preset=shallow(kind))
    found = export_run(str(run.path), "onnx", tmp_path / "out")
    assert found.largest_difference is not None and found.largest_difference < 1e-4
    content = (tmp_path / "out" / "model.onnx").read_bytes()
    assert str(ROOT).encode() not in content and b"site-packages" not in content, "paths of the machine"
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    model = load(run.path)
    for texts in (TEXTS[:1], TEXTS * 3):
        inputs = model.encode(texts)
        values = session.run(None, {item.name: inputs[item.name] for item in session.get_inputs()})[0]
        assert np.abs(values - logits(model, inputs)).max() < 1e-4
    assert found.text_agreement == 1.0


def test_the_onnx_card_is_enough_to_classify(trained: Trained, shallow: Shallow, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    run = trained("bert", model__preset=shallow("bert"))
    export_run(str(run.path), "onnx", tmp_path / "out")
    code = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    text = "great movie " * 40  # longer than the run's rows
    exec(code.replace("DIR", str(tmp_path / "out")).replace("a text", text).replace("print(", "logits = ("), scope)
    model = load(run.path)
    assert np.abs(scope["logits"][0] - logits(model, model.encode([text]))).max() < 1e-4


def test_weights_beyond_a_protobufs_size_stand_beside_the_onnx_file(
    trained: Trained, shallow: Shallow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx_file, "LARGEST_FILE", 1000)
    run = trained("distil_bert", model__preset=shallow("distil_bert"))
    found = export_run(str(run.path), "onnx", tmp_path / "out")
    assert found.largest_difference is not None and found.largest_difference < 1e-4
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 10_000


VARIANTS: dict[str, dict[str, Any]] = {
    "dora": {"lora__use_dora": True, "lora__targets": "all-linear"},
    "pissa": {"lora__init": "pissa"},
    "full": {"lora__method": "full", "training__learning_rate": 0.001},
    "head": {"lora__method": "head"},
    "biases": {"lora__bias": "all", "lora__modules_to_save": "feedforward_layer_norm"},
    "bfloat16": {"model__precision": "bfloat16"},
    "float16": {"lora__adapter_dtype": "float16"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_export_too(name: str, trained: Trained, tmp_path: Path) -> None:
    run = str(trained("distil_bert", **VARIANTS[name]).path)
    for form in ("peft", "transformers", "keras", "kerora"):
        if form == "peft" and name in ("full", "head"):
            with pytest.raises(PresetError, match="did not train LoRA"):
                export_run(run, form, tmp_path / form)
            continue
        found = export_run(run, form, tmp_path / form)
        assert found.largest_difference is not None and found.largest_difference < 1e-4


def test_the_card_has_the_hubs_metadata_and_no_path(trained: Trained, tmp_path: Path) -> None:
    export_run(str(trained("bert").path), "transformers", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["library_name"] == "transformers" and metadata["base_model"] == "bert"
    assert {item["type"] for item in metadata["model-index"][0]["results"][0]["metrics"]} == {"accuracy", "f1"}
    assert "pipeline(" in card and "licences of the base model" in card and "Verified with transformers" in card
    assert str(tmp_path) not in card and "/tmp/" not in card
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}


def test_an_export_that_differs_is_refused_and_nothing_is_left(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kerora: Kerora
) -> None:
    monkeypatch.setattr(export, "transformers_logits", lambda directory, kind, inputs: np.zeros((32, 2), np.float32))
    answer = kerora("export", trained("bert").path, "--format", "transformers", "--output", tmp_path / "out")
    assert "The export differs from the run when transformers" in answer.error
    assert not list(tmp_path.iterdir())


FULL = {
    "plain": OSError(28, "No space left on device"),
    "copytree": shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]),
    "hdf5": OSError(
        "Can't write data (file write failed: time = Sat, filename = 'x', errno = 28, error message = 'No')"
    ),
}


@pytest.mark.parametrize("form", FULL)
def test_a_full_disk_leaves_nothing(
    form: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: Any, directory: Path) -> None:
        (directory / "half").write_bytes(b"x")
        raise FULL[form]

    monkeypatch.setattr(export, "write_huggingface_folder", full)
    with pytest.raises(RunError, match=r"Cannot write .*/out: No space left on device\. Free space"):
        export_run(str(trained("bert").path), "transformers", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"needs onnx, onnxscript, onnxruntime\. .*pip install onnx onnxscript onnxruntime"
    ):
        export_run(str(trained("bert").path), "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_refusals(trained: Trained, tmp_path: Path, kerora: Kerora) -> None:
    run = trained("gpt2").path
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    answer = kerora("export", run, "--format", "peft", "--output", tmp_path / "there")
    assert "exists. Choose another --output" in answer.error
    assert (tmp_path / "there" / "file").read_text() == "mine"
    with pytest.raises(ConfigError, match="Unknown format 'gguf'"):
        export_run(str(run), "gguf", tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
