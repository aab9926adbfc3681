"""Merging one run and several."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kerora.errors import ConfigError
from kerora.exchange.merge import merged_model
from kerora.lora.inject import lora_layers
from kerora.models.classifier import TextClassifier
from kerora.runs.open import load
from tests.exchange.conftest import Kerora, Trained
from tests.exchange.test_export import TEXTS, logits


def test_merge_writes_a_plain_model_and_model_merge_can_be_undone(
    trained: Trained, tmp_path: Path, kerora: Kerora
) -> None:
    run = trained("distil_bert").path
    model = load(run)
    inputs = model.encode(TEXTS)
    before = logits(model, inputs)
    answer = kerora("merge", run, "--output", tmp_path / "merged")
    assert answer.code == 0 and "Verified with keras-hub" in answer.out, answer.err
    merged = TextClassifier.from_preset(str(tmp_path / "merged"), max_length=24)
    assert not lora_layers(merged)
    assert np.abs(logits(merged, inputs) - before).max() < 1e-4
    model.merge()
    assert np.abs(logits(model, inputs) - before).max() < 1e-5
    model.unmerge()
    assert np.array_equal(logits(model, inputs), before)


def test_a_weighted_sum_adds_the_changes_of_each_weight(trained: Trained, tmp_path: Path, kerora: Kerora) -> None:
    first, second = (str(trained("distil_bert", training__seed=seed, lora__rank=2).path) for seed in (1, 2))
    summed = merged_model([first, second], [0.5, 2.0])
    parts = [merged_model([run]) for run in (first, second)]
    base = TextClassifier.from_preset(parts[0].preset, 2).backbone
    path = "transformer_layer_0/self_attention_layer/query/kernel"

    def kernel(model: object) -> torch.Tensor:
        return next(v for v in model.variables if v.path == path).value.detach()  # type: ignore[attr-defined]

    expected = kernel(base) + 0.5 * (kernel(parts[0]) - kernel(base)) + 2.0 * (kernel(parts[1]) - kernel(base))
    torch.testing.assert_close(kernel(summed), expected)
    heads = [model.get_layer("logits").kernel.numpy() for model in (*parts, summed)]
    np.testing.assert_allclose(heads[2], (0.5 * heads[0] + 2.0 * heads[1]) / 2.5, atol=1e-6)
    # one run alone: half of its change
    half = merged_model([first], [0.5])
    torch.testing.assert_close(kernel(half), kernel(base) + 0.5 * (kernel(parts[0]) - kernel(base)))
    same = merged_model([first, first])
    np.testing.assert_allclose(kernel(same), kernel(parts[0]), atol=1e-6)
    answer = kerora(
        "merge", first, second, "--weights", "0.5,0.5", "--format", "transformers", "--output", tmp_path / "m"
    )
    assert answer.code == 0 and (tmp_path / "m" / "model.safetensors").is_file(), answer.err
    card, names = (tmp_path / "m" / "README.md").read_text(), [Path(run).name for run in (first, second)]
    assert f"Changes of the weights: 0.5 x {names[0]} + 0.5 x {names[1]}" in card
    assert all(f"- {name}: Method: LoRA rank 2, alpha 16" in card for name in names)


def test_refusals(trained: Trained, tmp_path: Path, kerora: Kerora) -> None:
    run, other = trained("distil_bert").path, trained("bert").path
    out = ("--output", tmp_path / "m")
    assert "2 runs, 1 weights" in kerora("merge", run, run, "--weights", "1", *out).error
    assert "numbers separated by commas" in kerora("merge", run, run, "--weights", "a,b", *out).error
    assert "sum is not 0" in kerora("merge", run, run, "--weights", "1,-1", *out).error
    assert "Merge runs of one base" in kerora("merge", run, other, *out).error
    with pytest.raises(ConfigError, match="fingerprint"):
        merged_model([str(run), str(other)])
    assert not list(tmp_path.iterdir())
