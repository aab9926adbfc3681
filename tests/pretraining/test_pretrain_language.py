"""Pre-training a language model: vocabulary, training, preset, resume, and fine-tuning what came out."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kerora.config import PretrainConfig, resolve
from kerora.data.documents import Documents, plain_text
from kerora.errors import ConfigError, Interrupted, PresetError
from kerora.models.causal_lm import CausalLM
from kerora.pretraining.pretrain import PretrainResult, pretrain, resume
from kerora.pretraining.vocabulary import train_byte_pairs
from kerora.tasks.language.measure import evaluate_documents
from kerora.training.fit import fit
from tests.tiny import WORDS
from tests.training.test_fit import stopping_after


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    lines = [" ".join(WORDS[(start + step) % 60] for step in range(9)) for start in generator.integers(0, 60, 900)]
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def settings(output: Path, book: Path, **values: Any) -> PretrainConfig:
    return resolve(
        {
            "output": str(output),
            "objective": "clm",
            "data.text": [str(book)],
            "data.holdout": 0.1,
            "model.layers": 2,
            "model.width": 32,
            "model.heads": 2,
            "model.intermediate": 64,
            "model.vocabulary_size": 320,
            "model.max_length": 32,
            "model.precision": "float32",
            "training.epochs": 2,
            "training.batch_size": 16,
            "training.learning_rate": 0.01,
            **{name.replace("__", "."): value for name, value in values.items()},
        },
        root=PretrainConfig,
    )


@pytest.fixture(scope="module")
def made(book: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    return pretrain(settings(tmp_path_factory.mktemp("made") / "tiny_gpt2", book))


def test_a_preset_comes_out_that_knows_the_text(made: PretrainResult) -> None:
    assert set(made.metrics) == {"loss", "perplexity", "bits_per_byte"}
    assert made.metrics["perplexity"] < 40 < 320
    assert [row["epoch"] for row in made.history] == [1, 2]
    assert made.history[-1]["val_loss"] == pytest.approx(made.metrics["loss"], rel=1e-4)
    card = (made.run.path / "README.md").read_text()
    assert "A language model in KerasHub's preset format" in card and "byte-pair vocabulary of 320" in card
    assert "mask" not in card.lower()
    model = CausalLM.from_preset(str(made.run.path), max_length=32)
    assert (model.preset.kind, model.preset.source, model.tokenizer.end_id) == ("gpt2", "keras", 0)
    documents = Documents([], [])
    documents.append(plain_text(" ".join(WORDS[:40])), "words")
    assert evaluate_documents(model, documents)["perplexity"] < 60


def test_the_vocabulary_is_a_function_of_the_text(book: Path) -> None:
    lines = book.read_text().splitlines()
    one, two = (train_byte_pairs(lambda: lines, 320) for _ in range(2))
    assert one.to_str() == two.to_str()
    assert one.decode(one.encode("Café 東京 😀").ids) == "Café 東京 😀"
    with pytest.raises(ConfigError, match="must be above 256, the number of byte values. Received: 256"):
        train_byte_pairs(lambda: lines, 256)
    with pytest.raises(ConfigError, match="The text supports .* tokens, not 9,000"):
        train_byte_pairs(lambda: lines, 9000)


def test_resume_ends_with_the_same_weights(
    book: Path, tmp_path: Path, made: PretrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopping_after(15, patch)
        with pytest.raises(Interrupted, match="kerora pretrain --resume"):
            pretrain(settings(tmp_path / "cut", book))
    resumed = resume(str(tmp_path / "cut"))
    assert resumed.metrics == made.metrics
    x = {"token_ids": np.arange(1, 17)[None], "padding_mask": np.ones((1, 16), "int32")}
    logits = [CausalLM.from_preset(str(result.run.path)).logits(x) for result in (resumed, made)]
    assert torch.equal(*logits)


def test_what_came_out_is_fine_tuned_and_continued(made: PretrainResult, book: Path, tmp_path: Path) -> None:
    config = resolve(
        {
            "task": "causal-lm",
            "run": "run",
            "runs_dir": str(tmp_path),
            "data.source": str(book),
            "model.preset": str(made.run.path),
            "model.max_length": 32,
            "training.max_steps": 3,
            "language.samples": 1,
        }
    )
    assert fit(config).metrics["before"]["validation"]["perplexity"] < 60
    on = pretrain(settings(tmp_path / "on", book, model__init=str(made.run.path), training__max_steps=4,
                           training__learning_rate=0.001))  # fmt: skip
    assert on.metrics["perplexity"] < made.metrics["perplexity"] * 1.2
    assert math.isfinite(on.metrics["bits_per_byte"])


def test_what_does_not_go_together(book: Path, tiny_preset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not support a teacher"):
        pretrain(settings(tmp_path / "a", book, distillation__teacher=str(tiny_preset)))
    with pytest.raises(PresetError, match="cannot continue DistilBERT .* It accepts GPT-2."):
        pretrain(settings(tmp_path / "a", book, model__init=str(tiny_preset)))
