"""Whole pre-trainings on small text: preset folder, learning, distillation, resume, continued training, refusals."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kerora.backend import import_keras_hub, without_tensorflow
from kerora.config import PretrainConfig, load_yaml, resolve
from kerora.errors import ConfigError, DataError, Interrupted, KeroraError, PresetError, RunError
from kerora.models.classifier import TextClassifier
from kerora.models.presets import find_preset
from kerora.pretraining.held_out import PRETRAIN_COLUMNS
from kerora.pretraining.pretrain import PretrainResult, pretrain, resume
from tests.tiny import TINY_PRETRAINING, tiny_huggingface
from tests.training.test_fit import stopping_after

keras_hub = import_keras_hub()

PLACES = ["north", "south", "east", "west"]
WEATHER = {"north": "cold and snowy", "south": "warm and sunny", "east": "dry and windy", "west": "wet and foggy"}


def write_text(path: Path, documents: int = 240, seed: int = 0) -> Path:
    """Reports in which each place has its weather, so that a masked word can be learnt from the others."""
    generator = np.random.default_rng(seed)
    with path.open("w") as stream:
        for _ in range(documents):
            place = generator.choice(PLACES)
            day = generator.choice(["today", "tomorrow", "on monday", "all week"])
            text = f"{day} the weather in the {place} is {WEATHER[place]} , say people of the {place} ."
            stream.write(json.dumps({"text": text}) + "\n")
    return path


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return short_pretraining(tmp_path)


def short_pretraining(folder: Path) -> dict[str, Any]:
    return {
        "output": str(folder / "out"),
        "data.text": [str(write_text(folder / "reports.jsonl"))],
        "data.holdout": 0.1,
        **TINY_PRETRAINING,
    }


def run(settings: dict[str, Any], force: bool = False, **changes: Any) -> PretrainResult:
    layers = (settings, {key.replace("__", "."): value for key, value in changes.items()})
    return pretrain(resolve(*layers, root=PretrainConfig), force=force)


def weights(path: Path) -> list[np.ndarray]:
    backbone = find_preset(str(path)).load_backbone()
    return [np.array(variable) for variable in backbone.weights]


def test_the_loss_falls_and_the_folder_is_as_documented(settings: dict[str, Any], tmp_path: Path) -> None:
    result = run(settings, training__epochs=12, model__storage="float16")
    path = result.run.path
    assert {item.name for item in path.iterdir()} == {
        "config.json", "model.weights.h5", "tokenizer.json", "assets", "metadata.json", "README.md", "curves.png",
        "history.csv", "pretrain.json", "config.yaml", "preprocessor.json",
    }  # fmt: skip
    losses = [row["val_loss"] for row in result.history]
    assert losses[-1] < 1.6 < 3 < losses[0]
    assert result.metrics["accuracy"] > 0.5 and result.metrics["loss"] == pytest.approx(losses[-1], abs=0.01)
    with (path / "history.csv").open() as stream:
        history = list(csv.DictReader(stream))
    assert tuple(history[0]) == PRETRAIN_COLUMNS and len(history) == 12 and float(history[0]["tokens_per_second"]) > 0
    manifest = result.run.read_manifest()
    assert manifest["state"] == "finished" and manifest["held_out"] == result.metrics
    assert manifest["data"]["files"][0]["file"] == "reports.jsonl" and manifest["data"]["held_out_documents"] == 24
    card = (path / "README.md").read_text()
    for fact in ("DistilBERT, 1 layers, 32 wide", "110 pieces", "reports.jsonl", "float16", "240 documents"):
        assert fact in card
    assert str(tmp_path) not in card + json.dumps(manifest) and "{" not in card
    assert load_yaml(path / "config.yaml", PretrainConfig)["model.vocabulary_size"] == 110


def test_the_preset_loads_in_plain_keras_hub_and_as_a_classifier(settings: dict[str, Any]) -> None:
    path = run(settings, model__precision="bfloat16").run.path
    with without_tensorflow():
        plain = keras_hub.models.Backbone.from_preset(str(path))
    model = TextClassifier.from_preset(str(path), ["wet", "dry"])
    assert model.max_length == 24
    inputs = model.encode(["the weather in the north", "people of the south say it is warm"])
    with torch.no_grad():
        assert float((plain(inputs) - model.backbone(inputs)).abs().max()) < 1e-6
    assert plain.compute_dtype == "float32"


def test_the_same_settings_give_the_same_weights(settings: dict[str, Any], tmp_path: Path) -> None:
    one = run(settings)
    two = run(settings, output=str(tmp_path / "two"))
    assert all((a == b).all() for a, b in zip(weights(one.run.path), weights(two.run.path), strict=True))
    assert one.metrics == two.metrics
    other = run(settings, output=str(tmp_path / "other"), training__seed=1)
    assert other.metrics != one.metrics


@pytest.fixture(scope="module")
def distilling(tiny_preset: Path) -> dict[str, Any]:
    return {"distillation__teacher": str(tiny_preset), "model__dropout": 0.1, "training__accumulate": 1}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, distilling: dict[str, Any]) -> PretrainResult:
    """The pre-training that nobody interrupts."""
    return run(short_pretraining(tmp_path_factory.mktemp("whole")), **distilling)


@pytest.mark.parametrize("updates", [5, 20])
def test_interrupted_and_resumed_ends_with_the_same_loss_and_weights(
    settings: dict[str, Any],
    tmp_path: Path,
    undisturbed: PretrainResult,
    distilling: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    updates: int,
) -> None:
    whole = undisturbed
    with monkeypatch.context() as patch:
        stopping_after(updates, patch)
        with pytest.raises(Interrupted, match="kerora pretrain --resume") as stop:
            run(settings, **distilling)
    assert stop.value.exit_code == 130
    assert not (tmp_path / "out" / "config.json").exists()
    resumed = resume(str(tmp_path / "out"))
    assert resumed.metrics == whole.metrics
    assert all((a == b).all() for a, b in zip(weights(resumed.run.path), weights(whole.run.path), strict=True))
    for one, other in zip(resumed.history, whole.history, strict=True):
        for name in ("loss", "mlm_loss", "accuracy", "cosine", "token_cosine", "val_loss", "val_cosine"):
            assert one[name] == pytest.approx(other[name], rel=1e-6), name


def test_resume_refusals(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="There is no pre-training folder"):
        resume(str(tmp_path / "nowhere"))
    finished = run(settings, output=str(tmp_path / "finished"), training__max_steps=1)
    with pytest.raises(RunError, match="is finished"):
        resume(str(finished.run.path))
    stopping_after(2, monkeypatch)
    with pytest.raises(Interrupted):
        run(settings)
    write_text(tmp_path / "reports.jsonl", seed=5)
    with pytest.raises(RunError, match="The text of .* changed since it started"):
        resume(str(tmp_path / "out"))


def test_distillation_raises_the_cosine_to_the_teacher_on_held_out_rows(
    settings: dict[str, Any], tiny_preset: Path, tmp_path: Path
) -> None:
    extra = {"distillation__teacher": str(tiny_preset), "training__epochs": 8}
    result = run(settings, **extra)
    cosine = [row["val_cosine"] for row in result.history]
    assert cosine[-1] > 0.93 and cosine[-1] > cosine[0] + 0.02
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    ignored = run(
        settings,
        output=str(tmp_path / "ignored"),
        distillation__sentence_weight=0.0,
        distillation__token_weight=0.0,
        **extra,
    )
    assert ignored.metrics["cosine"] < cosine[-1] - 0.3
    card = result.run.card.read_text()
    assert "Teacher: tiny_distil_bert (DistilBERT)" in card and "held-out cosine" in card


def test_an_encoder_cut_out_of_its_teacher_begins_with_its_states(settings: dict[str, Any], tiny_preset: Path) -> None:
    """The projection begins as the identity, and a head that is not trained has no numbers in the card."""
    teacher = {"model__init": str(tiny_preset), "distillation__teacher": str(tiny_preset)}
    changes = {"distillation__mlm_weight": 0.0, "training__learning_rate": 1e-9, "training__max_steps": 1}
    result = run(settings, **teacher, **changes)
    assert result.metrics["token_cosine"] > 0.5  # from a random start it is near 0
    card = result.run.card.read_text()
    assert "held-out cosine to the teacher (tokens)" in card
    assert "(MLM)" not in card.split("| epoch")[1] and "held-out part: cosine" in card


@pytest.mark.parametrize("kind", ["distil_bert", "bert", "roberta"])
def test_an_encoder_goes_on_with_its_own_tokenizer(settings: dict[str, Any], tmp_path: Path, kind: str) -> None:
    start = tiny_huggingface(kind, tmp_path / "start")
    changes = {"model__init": str(start), "training__epochs": 4, "training__learning_rate": 0.01}
    result = run(settings, **changes)
    losses = [row["val_loss"] for row in result.history]
    assert losses[-1] < losses[0] - 0.5
    before, after = find_preset(str(start)), find_preset(str(result.run.path))
    assert after.kind == kind
    texts = ["The weather in the NORTH is cold, say people.", "café  1,234"]
    tables = [preset.load_tokenizer().encode(texts, max_length=24) for preset in (before, after)]
    assert tables[0].ids.tolist() == tables[1].ids.tolist()
    changed = [
        np.abs(np.array(old) - np.array(new)).max()
        for old, new in zip(before.load_backbone().weights, after.load_backbone().weights, strict=True)
    ]
    assert np.median(changed) > 1e-3
    assert "continued from start" in result.run.card.read_text()


def test_an_earlier_result_is_replaced_only_by_force(settings: dict[str, Any], tmp_path: Path) -> None:
    first = run(settings, training__max_steps=2)
    with pytest.raises(RunError, match=r"exists\. Choose another --output, continue it with --resume, or add --force"):
        run(settings)
    again = run(settings, force=True, training__max_steps=1, training__seed=2)
    assert again.run.path == first.run.path and len(again.history) == 1
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(RunError, match="not a pre-training folder and is not empty"):
        run(settings, force=True, output=str(tmp_path / "thesis"))
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"output": None}, ConfigError, "Name it with --output"),
        ({"data__text": []}, ConfigError, "--text"),
        ({"data__text": ["nothing.txt"]}, DataError, "There is no file nothing.txt"),
        ({"model__vocabulary_size": 9000}, ConfigError, r"supports a vocabulary of at most [\d,]+ pieces, not 9,000"),
        ({"model__heads": 3}, ConfigError, "multiple of --heads. Received: 32 and 3"),
        ({"distillation__teacher": "no_such_preset"}, PresetError, "no_such_preset"),
        ({"model__init": "no_such_preset"}, PresetError, "no_such_preset"),
        ({"model__max_length": 512, "model__init": "TINY"}, ConfigError, "accepts at most 64 tokens"),
        ({"data__holdout": 0.999}, DataError, "too little to train on and to hold out a part"),
    ],
)
def test_bad_input_changes_nothing(
    settings: dict[str, Any], tmp_path: Path, tiny_preset: Path, changes: dict[str, Any], error: Any, message: str
) -> None:
    changes = {key: str(tiny_preset) if value == "TINY" else value for key, value in changes.items()}
    with pytest.raises(error, match=message) as caught:
        run(settings, **changes)
    assert isinstance(caught.value, KeroraError) and "\n" not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["reports.jsonl"]


def test_init_refuses_what_it_cannot_train(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_huggingface("albert", tmp_path / "albert")
    with pytest.raises(PresetError, match=re.escape("It accepts DistilBERT, BERT, RoBERTa.")):
        run(settings, model__init=str(folder))


def test_a_language_model_is_no_teacher(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_huggingface("gpt2", tmp_path / "gpt2")
    with pytest.raises(PresetError, match=r"--teacher cannot be GPT-2 .* Give an encoder\."):
        run(settings, distillation__teacher=str(folder))


def test_without_a_held_out_part(settings: dict[str, Any]) -> None:
    result = run(settings, data__holdout=0.0, training__max_steps=2)
    assert result.metrics == {} and result.history[0]["val_loss"] is None


def test_loss_falls_on_real_text(settings: dict[str, Any], shared_data: Path) -> None:
    text = [str(shared_data / "sst2_test.tsv"), str(shared_data / "ag_news_test.csv")]
    changes = {"data__columns": "class,title,description", "model__vocabulary_size": 1500, "model__max_length": 48}
    result = run(settings, data__text=text, **changes, training__epochs=2, training__learning_rate=0.005)
    losses = [row["val_loss"] for row in result.history]
    assert losses[0] > losses[-1] and losses[-1] < np.log(1500) - 0.7
