"""The frozen blocks below the first adapted one are computed once, and nothing else changes."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import kerora
from kerora.config import resolve
from kerora.data.rows import Rows
from kerora.errors import ConfigError, RunError
from kerora.fast import frozen_start
from kerora.fast.frozen_start import FrozenStart
from kerora.models.classifier import TextClassifier
from kerora.training.fit import TrainedRun, fit
from tests.tiny_huggingface import tiny_huggingface

WORDS = {"good": ["great", "love", "best"], "bad": ["awful", "worst", "hate"]}
KINDS = ("distil_bert", "bert", "roberta", "electra")


def rows(count: int) -> list[dict[str, str]]:
    generator = np.random.default_rng(0)
    labels = [("good", "bad")[number % 2] for number in range(count)]
    return [
        {"text": " ".join(["the", *generator.choice(WORDS[label], generator.integers(1, 12)), "movie"]), "label": label}
        for label in labels
    ]


def texts(count: int) -> Rows:
    given = rows(count)
    labels = [int(row["label"] == "good") for row in given]
    return Rows([row["text"] for row in given], [""] * count, labels)


@pytest.fixture
def settings(tmp_path: Path, tiny_preset: Path) -> dict[str, Any]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(96)), encoding="utf-8")
    return {
        "runs_dir": str(tmp_path),
        "data.source": str(path),
        "data.validation_split": 0.25,
        "data.test_split": 0.25,
        "model.preset": str(tiny_preset),
        "model.max_length": 16,
        "model.precision": "float32",
        "lora.layers": "last:1",
        "training.batch_size": 8,
        "training.learning_rate": 0.01,
        "training.mask_share": 0.0,
        "training.epochs": 2,
    }


def run(settings: dict[str, Any], name: str, **changes: Any) -> TrainedRun:
    return fit(resolve(settings, {"run": name, **{key.replace("__", "."): value for key, value in changes.items()}}))


def test_a_run_has_the_same_metrics_with_and_without(settings: dict[str, Any]) -> None:
    plain, cached = run(settings, "plain"), run(settings, "cached", training__cache_frozen=True)
    timed = ("seconds", "validation_seconds", "tokens_per_second", "peak_memory_mb")
    for before, after in zip(plain.history, cached.history, strict=True):
        for name in set(before) - set(timed):
            assert after[name] == pytest.approx(before[name], abs=1e-4), name
    for split in ("validation", "test"):
        mine, theirs = cached.metrics["after"][split], plain.metrics["after"][split]
        assert mine["accuracy"] == theirs["accuracy"]
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-4)


def test_the_frozen_blocks_run_once_a_row(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = TextClassifier.frozen_states

    def counted(self: TextClassifier, batches: Any, max_tokens: int) -> np.ndarray:
        seen.append(len(batches.table))
        return original(self, batches, max_tokens)

    monkeypatch.setattr(TextClassifier, "frozen_states", counted)
    run(settings, "counted", training__cache_frozen=True)
    assert seen == [48, 24]  # the training rows and the validation rows, for both epochs


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_the_whole_model(kind: str, dtype: str, tmp_path: Path) -> None:
    preset = tiny_huggingface(kind, tmp_path / kind)
    model = TextClassifier.from_preset(str(preset), ["bad", "good"], max_length=24, dtype=dtype, head_dropout=0.0)
    kerora.enable_lora(model, rank=2, dropout=0.0, layers="last:1")
    start = FrozenStart(model)
    assert not start.lower.trainable_weights
    batches = model.batches(texts(9), batch_size=4, cache=False)
    model.use_frozen_start(start)
    batches.states = model.frozen_states(batches, 100)
    assert batches.states.shape == (len(batches.table.ids), 32)
    for index in range(len(batches)):
        cached, y = batches[index]
        whole = {name: value for name, value in cached.items() if name != "states"}
        gradients = []
        for inputs in (whole, cached):
            logits = model(inputs, training=True)
            keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)).backward()
            found = [variable.value.grad.clone() for variable in model.trainable_weights]
            gradients.append([logits.detach(), *found])
            for variable in model.trainable_weights:
                variable.value.grad = None
        tolerance = 1e-5 if dtype == "float32" else 5e-2
        for expected, found in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def test_without_frozen_blocks_below_it_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="frozen blocks below the first adapted one"):
        run(settings, "refused", lora__layers="first:1", training__cache_frozen=True)


def test_with_trained_embeddings_it_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="all weights below"):
        run(settings, "refused", lora__modules_to_save=["token_embedding"], training__cache_frozen=True)


def test_other_tasks_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--mask-share masks other tokens at each step"):
        run(settings, "refused", training__mask_share=0.3, training__cache_frozen=True)
    with pytest.raises(ConfigError, match="--cache-frozen is for classification"):
        run(settings, "refused", task="causal-lm", training__cache_frozen=True)


def test_a_full_disk_is_told_in_one_line(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1_000

    monkeypatch.setattr(frozen_start.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(RunError, match="--cache-frozen needs"):
        run(settings, "full", training__cache_frozen=True)


@pytest.mark.parametrize("groups", [(1, 1), (2, 2)])
def test_albert_repeats_its_blocks_and_is_refused(groups: tuple[int, int], tmp_path: Path) -> None:
    sizes = {"num_hidden_groups": groups[0], "inner_group_num": groups[1]}
    folder = tiny_huggingface("albert", tmp_path / "albert", ["bad", "good"], **sizes)
    model = TextClassifier.from_preset(str(folder))
    kerora.enable_lora(model, rank=2)
    with pytest.raises(ConfigError, match=r"^--cache-frozen cannot divide albert\. Leave it out\.$"):
        FrozenStart(model)
