"""A language model's run from settings to files: training, metrics, resume, samples, loading."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from kerora.config import resolve
from kerora.data.documents import Documents, plain_text
from kerora.data.language import load_documents
from kerora.errors import ConfigError, DataError, Interrupted, PresetError
from kerora.evaluation.metrics import language_metrics
from kerora.lora.files import CONFIG_FILE, OWN_FILE, WEIGHTS_FILE, read_adapter_config
from kerora.models.causal_lm import CausalLM
from kerora.runs.open import load
from kerora.tasks.language.measure import evaluate_documents
from kerora.tasks.language.samples import sample_prompts
from kerora.tasks.language.task import COLUMNS
from kerora.training.fit import TrainedRun, fit, resume
from tests.tiny import WORDS
from tests.tiny_huggingface import tiny_huggingface
from tests.training.test_fit import stopping_after

LENGTH = 32


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # embeddings of a trained size: they are frozen, and small ones could not tell tokens apart
    folder = tmp_path_factory.mktemp("gpt2") / "tiny_gpt2"
    return tiny_huggingface("gpt2", folder, task="LMHeadModel", initializer_range=0.4)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text that can be learnt: each word names the next."""
    words = np.random.default_rng(0).integers(0, 40, 200)
    text = "\n".join(" ".join(WORDS[(start + step) % 40] for step in range(12)) for start in words)
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text(text, encoding="utf-8")
    return path


def settings(tmp_path: Path, preset: Path, source: Path, **values: Any) -> Any:
    return resolve(
        {
            "task": "causal-lm",
            "run": "run",
            "runs_dir": str(tmp_path),
            "data.source": str(source),
            "data.test_split": 0.1,
            "model.preset": str(preset),
            "model.max_length": LENGTH,
            "model.precision": "float32",
            "lora.rank": 8,
            "lora.targets": "c_attn,c_proj",
            "training.batch_size": 8,
            "training.learning_rate": 0.01,
            "language.samples": 2,
            "language.sample_tokens": 6,
            **{name.replace("__", "."): value for name, value in values.items()},
        }
    )


def columns(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def finished(gpt2: Path, book: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    config = settings(tmp_path_factory.mktemp("runs"), gpt2, book, training__epochs=3, training__logging_steps=5)
    return fit(config)


def test_a_run_learns_and_leaves_its_files(finished: TrainedRun) -> None:
    before, after = finished.metrics["before"]["test"], finished.metrics["after"]["test"]
    assert set(before) == {"loss", "perplexity", "bits_per_byte", "tokens"}
    assert after["perplexity"] < before["perplexity"] / 3
    assert before["tokens"] == after["tokens"] > 100
    run = finished.run
    manifest = run.read_manifest()
    assert (manifest["state"], manifest["task"]) == ("finished", "causal-lm")
    assert manifest["parameters"]["head"] == 0
    assert not run.predictions.exists() and not run.labels.exists()
    adapter = read_adapter_config(run.adapter)
    assert (adapter["task_type"], adapter["kerora"]["text_form"]) == ("CAUSAL_LM", "text")
    assert {path.name for path in run.adapter.iterdir()} == {WEIGHTS_FILE, CONFIG_FILE, OWN_FILE}


def test_the_history_holds_perplexities(finished: TrainedRun) -> None:
    rows = columns(finished.run.history)
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 3
    for row in rows:
        assert math.isclose(float(row["perplexity"]), math.exp(float(row["loss"])), rel_tol=1e-3)
        assert math.isclose(float(row["val_perplexity"]), math.exp(float(row["val_loss"])), rel_tol=1e-3)
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert finished.run.read_manifest()["best_epoch"] == int(best["epoch"])
    assert math.isclose(float(best["val_loss"]), finished.metrics["after"]["validation"]["loss"], rel_tol=1e-4)


def test_steps_are_logged(finished: TrainedRun) -> None:
    rows = columns(finished.run.steps)
    assert [int(row["step"]) for row in rows] == list(range(5, 5 * len(rows) + 1, 5)) and len(rows) > 3
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert len({row["learning_rate"] for row in rows}) > 2


def test_samples_before_and_after(finished: TrainedRun) -> None:
    samples = json.loads(finished.run.samples.read_text())["samples"]
    assert len(samples) == 2
    assert all(sample["prompt"] and sample["before"] is not None and sample["after"] for sample in samples)
    assert any(sample["before"] != sample["after"] for sample in samples)


def test_a_run_is_loaded_as_it_was(finished: TrainedRun) -> None:
    model = load(finished.run.path)
    assert isinstance(model, CausalLM)
    x = {"token_ids": np.arange(1, 17)[None], "padding_mask": np.ones((1, 16), "int32")}
    again = load(finished.run.path)
    assert torch.equal(model.logits(x), again.logits(x))


@pytest.mark.parametrize("pack", ["blocks", "docs", "none"])
def test_every_packing_learns(pack: str, gpt2: Path, tmp_path: Path) -> None:
    rows = [{"text": " ".join(WORDS[(start + step) % 40] for step in range(8))} for start in range(80)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = settings(tmp_path, gpt2, path, language__pack=pack, training__epochs=12, language__samples=0)
    result = fit(config)
    before, after = (result.metrics[when]["test"]["loss"] for when in ("before", "after"))
    assert after < before - 1
    assert not result.run.samples.exists()


def test_completions_alone_are_learnt(gpt2: Path, tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    rows = [{"prompt": f"{WORDS[n % 40]} {WORDS[n % 7]}", "completion": WORDS[n % 40 + 1]} for n in range(120)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    result = fit(settings(tmp_path, gpt2, path, training__epochs=6))
    before, after = (result.metrics[when]["test"] for when in ("before", "after"))
    assert after["loss"] < before["loss"] - 1
    dataset = load_documents(resolve({"data.source": str(path), "data.test_split": 0.1}).data, result_language())
    test = dataset["test"]
    assert isinstance(test, Documents)
    table = load(result.run.path).token_table(test)
    assert after["tokens"] == int(table.counted.sum()), "every token of a completion, and none of a prompt"
    prompts = [sample["prompt"] for sample in json.loads(result.run.samples.read_text())["samples"]]
    assert all("\n" not in prompt for prompt in prompts)


def result_language() -> Any:
    return resolve({}).language


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision(precision: str, gpt2: Path, book: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, gpt2, book, model__precision=precision, training__max_steps=12, training__accumulate=2)
    result = fit(config)
    assert result.metrics["after"]["test"]["loss"] < result.metrics["before"]["test"]["loss"]
    assert len(result.history) == 1 or result.history[-1]["epoch"] <= 3


@pytest.mark.parametrize("updates", [5, 8])
def test_resume_ends_with_the_same_bytes(
    updates: int, gpt2: Path, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"training__epochs": 2, "training__save_steps": 3, "training__accumulate": 2, "training__warmup_steps": 2,
               "training__logging_steps": 2, "language__pack": "docs"}  # fmt: skip
    whole = fit(settings(tmp_path / "whole", gpt2, book, **options))
    with monkeypatch.context() as patch:
        stopping_after(updates, patch)
        with pytest.raises(Interrupted):
            fit(settings(tmp_path / "cut", gpt2, book, **options))
    resumed = resume(str(tmp_path / "cut" / "run"))
    assert resumed.run.adapter_weights.read_bytes() == whole.run.adapter_weights.read_bytes()
    assert resumed.metrics == whole.metrics
    assert resumed.run.steps.read_text() == whole.run.steps.read_text()
    assert resumed.run.samples.read_text() == whole.run.samples.read_text()


def test_long_texts_are_measured_as_transformers_documents_it(gpt2: Path, book: Path) -> None:
    model = CausalLM.from_preset(str(gpt2), max_length=LENGTH)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(gpt2).eval()
    documents = Documents([], [])
    dataset = load_documents(resolve({"data.source": str(book)}).data, result_language())
    documents = dataset["validation"]
    assert isinstance(documents, Documents)
    ids = torch.tensor(model.token_table(documents).ids.astype("int64"))
    stride, reached, total, count = 12, 0, 0.0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + LENGTH, len(ids))
        window = ids[begin:end][None]
        labels = window.clone()
        labels[:, : window.shape[1] - (end - reached)] = -100
        with torch.no_grad():
            loss = float(theirs(window, labels=labels).loss)
        predicted = int((labels[:, 1:] != -100).sum())
        total, count, reached = total + loss * predicted, count + predicted, end
        if end == len(ids):
            break
    metrics = evaluate_documents(model, documents, batch_size=3, stride=stride)
    assert metrics["tokens"] == count == len(ids) - 1
    assert math.isclose(metrics["loss"], total / count, rel_tol=1e-5)
    assert math.isclose(metrics["perplexity"], math.exp(total / count), rel_tol=1e-4)
    first = len(model.tokenizer.decode([int(ids[0])]).encode())
    size = len(documents.texts[0].encode()) - first
    assert math.isclose(metrics["bits_per_byte"], total / math.log(2) / size, rel_tol=1e-5)


def test_metrics_of_nothing_and_of_too_much() -> None:
    assert language_metrics(0.0, 0, 0)["perplexity"] is None
    assert language_metrics(1e4, 2, 8)["perplexity"] is None


def test_prompts_are_spread_over_the_texts() -> None:
    documents = Documents([], [])
    documents.append(plain_text("".join(f"Line {number} of a long text.\n" for number in range(200))), "book")
    prompts = [sample.prompt for sample, _ in sample_prompts(documents, 4)]
    assert prompts[0].startswith("Line 0 of") and prompts[2].startswith("Line 103 of")
    assert len(set(prompts)) == 4 and all(0 < len(prompt) <= 120 for prompt in prompts)


def test_what_cannot_be_used(gpt2: Path, book: Path, tiny_preset: Path, tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="an encoder: it cannot continue a text"):
        fit(settings(tmp_path, tiny_preset, book))
    with pytest.raises(ConfigError, match="Unknown --monitor 'val_macro_f1'.* Known: loss, perplexity, val_bits_per"):
        fit(settings(tmp_path, gpt2, book, training__monitor="val_macro_f1"))
    with pytest.raises(ConfigError, match="--label-smoothing is for classification, not for --task causal-lm"):
        fit(settings(tmp_path, gpt2, book, training__label_smoothing=0.1))
    with pytest.raises(ConfigError, match="--mask-share, --class-weights are for classification"):
        fit(settings(tmp_path, gpt2, book, training__mask_share=0.3, training__class_weights="balanced"))
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match="a.txt is too short to hold out a part of it"):
        fit(settings(tmp_path, gpt2, tmp_path / "a.txt"))
    assert not (tmp_path / "run").exists(), "nothing is written before the input is known to be good"
