"""Several labels per text in other tools: the same scores in both directions, and thresholds beside the weights."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kerora
from kerora import MultiLabelClassifier, TextClassifier
from kerora.cli.main import run as kerora_command
from kerora.errors import PresetError
from kerora.exchange.importing import import_peft
from kerora.scripting.result import FitResult
from kerora.settings.resolve import resolve
from tests.tiny import WORDS, tiny_huggingface

TEXTS = [f"{WORDS[number]} {'late parcel' if number % 2 else 'broken'} {WORDS[-number - 1]}" for number in range(60)]
LABELS = [["late, or not"] * (number % 2) + ['the "other"'] * (number % 3 == 0) for number in range(60)]
NAMES = ("late, or not", 'the "other"')


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_huggingface("distil_bert", folder, n_layers=1)
    return folder


@pytest.fixture(scope="module")
def result(base: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    folder = tmp_path_factory.mktemp("runs")
    return kerora.fit(
        train=(TEXTS, LABELS), preset=str(base), epochs=6, learning_rate=0.01, precision="float32", test_split=0.2,
        max_length=32, targets="all-linear", batch_size=8, run=str(folder / "run"),
    )  # fmt: skip


def pipeline_scores(folder: Path, texts: list[str]) -> list[Mapping[str, float]]:
    import transformers

    classify = transformers.pipeline("text-classification", model=str(folder), top_k=None)
    return [{item["label"]: item["score"] for item in row} for row in classify(texts)]


def test_the_pipeline_of_transformers_gives_the_same_scores(result: FitResult, tmp_path: Path) -> None:
    result.export("transformers", tmp_path / "export")
    texts = [f"{text} {number}" for number in range(4) for text in TEXTS][:200]
    scores = pipeline_scores(tmp_path / "export", texts)
    ours = result.predict_proba(texts)
    assert np.abs(np.array([[row[name] for name in NAMES] for row in scores]) - ours).max() < 1e-4
    config = json.loads((tmp_path / "export/config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "multi_label_classification"
    labels = json.loads((tmp_path / "export/labels.json").read_text(encoding="utf-8"))
    assert labels["thresholds"] == result.model.thresholds.tolist() and tuple(labels["classes"]) == NAMES
    # the code of the card, with its own thresholds
    card = (tmp_path / "export/README.md").read_text(encoding="utf-8")
    code = card.partition("```python\n")[2].partition("```")[0].replace("DIR", str(tmp_path / "export"))
    printed: list[Any] = []
    exec(code.replace("print(", "printed.append(").replace('"a text"', repr(TEXTS[1])), {"printed": printed})
    assert printed == result.predict([TEXTS[1]])


@pytest.mark.parametrize("form", ["keras", "transformers"])
def test_an_export_is_a_preset_with_its_head(form: str, result: FitResult, tmp_path: Path) -> None:
    result.export(form, tmp_path / "export")
    again = MultiLabelClassifier.from_preset(tmp_path / "export", max_length=32)
    assert again.classes == NAMES and np.array_equal(again.thresholds, result.model.thresholds)
    assert np.abs(again.predict_logits(TEXTS) - result.model.predict_logits(TEXTS)).max() < 1e-4
    assert again.predict_labels(TEXTS) == result.predict(TEXTS)
    # a softmax over these logits would be another model
    with pytest.raises(PresetError, match="holds no single-label classification head"):
        TextClassifier.from_preset(tmp_path / "export")


def test_an_adapter_goes_to_peft_and_back(result: FitResult, base: Path, tmp_path: Path) -> None:
    result.export("peft", tmp_path / "export")
    # labels.json names the kind of problem, so no --task is needed
    run = import_peft(tmp_path / "export", str(tmp_path / "back"), resolve({"model.preset": str(base)}))
    back = kerora.load(run.path)
    assert back.classes == NAMES and np.array_equal(back.thresholds, result.model.thresholds)
    assert back.predict_labels(TEXTS) == result.predict(TEXTS)


def test_an_adapter_that_transformers_trained(base: Path, tmp_path: Path) -> None:
    import peft
    import transformers

    names = {number: f"tag {number}" for number in range(3)}
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=3, problem_type="multi_label_classification", id2label=names
    )
    model = peft.get_peft_model(theirs, peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_lin", "v_lin"]))
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    model.save_pretrained(tmp_path / "adapter")
    # beside the config of a base that says so, or with --task
    marked = tmp_path / "base"
    shutil.copytree(base, marked)
    config = json.loads((marked / "config.json").read_text(encoding="utf-8"))
    config |= {
        "problem_type": "multi_label_classification",
        "id2label": {str(key): name for key, name in names.items()},
    }
    (marked / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = [
        kerora.load(import_peft(tmp_path / "adapter", str(tmp_path / run), resolve(settings)).path)
        for run, settings in {
            "marked": {"model.preset": str(marked), "model.max_length": 32},
            "named": {"model.preset": str(base), "task": "multi-label", "model.max_length": 32},
        }.items()
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        logits = model.eval()(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits.numpy()
    for own in found:
        assert isinstance(own, MultiLabelClassifier) and own.thresholds.tolist() == [0.5] * 3
        assert np.abs(own.predict_logits(TEXTS) - logits).max() < 1e-4
    assert found[1].classes == ("LABEL_0", "LABEL_1", "LABEL_2")
    # without both, it is a classifier, as before
    assert isinstance(
        kerora.load(import_peft(tmp_path / "adapter", str(tmp_path / "single"),
                                resolve({"model.preset": str(base)})).path),
        TextClassifier,
    )  # fmt: skip


def test_onnx_and_the_card_name_the_thresholds(result: FitResult, tmp_path: Path) -> None:
    import onnxruntime
    import tokenizers

    verification = result.export("onnx", tmp_path / "export")
    assert verification.text_agreement == 1.0
    labels = json.loads((tmp_path / "export/labels.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(tmp_path / "export/model.onnx")
    reader = tokenizers.Tokenizer.from_file(str(tmp_path / "export/tokenizer.json"))
    for text, wanted in zip(TEXTS[:8], result.predict(TEXTS[:8]), strict=True):
        row = reader.encode(text)
        values = {"token_ids": row.ids, "padding_mask": row.attention_mask}
        inputs = {item.name: np.int32([values[item.name]]) for item in session.get_inputs()}
        scores = 1 / (1 + np.exp(-session.run(None, inputs)[0][0].astype(float)))
        found = [name for name, score, limit in zip(labels["classes"], scores, labels["thresholds"], strict=True)
                 if score >= limit]  # fmt: skip
        assert found == wanted
    assert "whose probability reaches its threshold" in (tmp_path / "export/README.md").read_text(encoding="utf-8")


def test_merged_runs_have_no_thresholds_of_one(result: FitResult, tmp_path: Path) -> None:
    run = str(result.run.path)
    assert kerora_command(["merge", run, run, "--output", str(tmp_path / "merged"), "--weights", "0.3,0.7"]) == 0
    assert json.loads((tmp_path / "merged/labels.json").read_text(encoding="utf-8"))["thresholds"] == [0.5, 0.5]
