"""A search of language models: each trial is a fit alone, and the base model is loaded once."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kerora.config import resolve
from kerora.lora.inject import lora_layers
from kerora.runs.open import load
from kerora.tasks.language.measure import document_losses
from kerora.training.fit import fit
from kerora.tuning.workbench import Workbench
from tests.tiny import WORDS, tiny_huggingface

# the journey of the contract takes a language model through a search in each run of the tests
pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a short fit of a decoder, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    tiny_huggingface("gpt2", Path("decoder"), task="LMHeadModel", initializer_range=0.4, n_layer=1)
    generator = random.Random(0)
    lines = [" ".join(generator.choices(WORDS, k=generator.randint(3, 40))) for _ in range(40)]
    Path("texts.csv").write_text("\n".join(["text", *lines]) + "\n", encoding="utf-8")
    return {
        "task": "causal-lm",
        "data.source": "texts.csv",
        "data.validation_split": 0.5,
        "model.preset": "decoder",
        "model.max_length": 24,
        "model.precision": "float32",
        "training.batch_size": 8,
        "training.epochs": 1,
        "language.samples": 0,
    }


def test_each_trial_of_a_language_model_has_the_results_of_a_fit_alone(settings: dict[str, Any]) -> None:
    bench = Workbench(resolve(settings))
    first = bench.train(resolve(settings), "loss")
    changes = {"lora.rank": 2, "lora.targets": "all-linear", "language.pack": "none", "run": "./alone"}
    alone, found = fit(resolve(settings, changes)), bench.train(resolve(settings, changes), "loss")
    expected = alone.metrics["after"]["validation"]
    assert list(found.metrics) == ["loss", "perplexity", "bits_per_byte"]
    assert found.metrics == pytest.approx({name: expected[name] for name in found.metrics}, abs=1e-6)
    losses = document_losses(load(alone.run.path), bench.data["validation"])
    np.testing.assert_allclose(found.predictions["losses"], losses.losses, rtol=1e-5)
    assert np.array_equal(found.predictions["tokens"], losses.tokens) and len(losses.tokens) == 20
    assert losses.metrics() == pytest.approx(expected, rel=1e-5)
    again = bench.train(resolve(settings), "loss")
    assert np.array_equal(first.predictions["losses"], again.predictions["losses"])
    assert len(bench._bases) == 1 and not lora_layers(bench._base(bench.config).model)


def test_the_losses_of_the_texts_are_those_of_each_text_alone(settings: dict[str, Any]) -> None:
    bench = Workbench(resolve(settings))
    model, texts = bench._base(bench.config).model, bench.data["validation"].take(range(6))
    together = document_losses(model, texts, batch_size=3, stride=5)
    for number in range(6):
        alone = document_losses(model, texts.take([number]), stride=5)
        assert together.losses[number] == pytest.approx(alone.losses[0], rel=1e-5)
        assert (together.tokens[number], together.sizes[number]) == (alone.tokens[0], alone.sizes[0])
