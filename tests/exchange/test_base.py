"""A base model without an adapter, written for transformers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from kerora.models.presets import find_preset
from tests.cli.conftest import Kerora, kerora
from tests.tiny import tiny_keras_preset

__all__ = ["kerora"]


@pytest.mark.parametrize("kind", ["distil_bert", "bert"])
def test_a_keras_preset(tmp_path: Path, kerora: Kerora, kind: str) -> None:
    preset, output = tiny_keras_preset(kind, tmp_path / "preset"), tmp_path / "base"
    answer = kerora("export", "--base", preset, "--format", "transformers", "--output", output)
    assert answer.code == 0 and "largest difference of the hidden states" in answer.out, answer.err
    theirs = transformers.AutoModel.from_pretrained(str(output)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(output))
    texts = ["the film was great", "bad"]
    found = tokenizer(texts, padding=True, return_tensors="pt")
    opened = find_preset(preset)
    table = opened.load_tokenizer().encode(texts, max_length=32)
    mask = found["attention_mask"].bool().numpy()
    assert found["input_ids"].numpy()[mask].tolist() == table.ids.tolist()
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    backbone = opened.load_backbone()
    ours = backbone({name: found[names[name]].int() for name in backbone.input})
    ours = ours["sequence_output"] if isinstance(ours, dict) else ours
    with torch.no_grad():
        states = theirs(**{key: value for key, value in found.items() if key != "token_type_ids" or kind == "bert"})
    assert np.abs((states.last_hidden_state - ours).detach().numpy()[mask]).max() < 1e-3
    head = transformers.AutoModelForSequenceClassification.from_pretrained(str(output), num_labels=3)
    assert head.config.num_labels == 3


def test_a_language_model_and_refusals(
    tmp_path: Path, kerora: Kerora, folder: Callable[..., Path], tiny_preset: Path
) -> None:
    base = ("export", "--base", folder("gpt2"), "--format", "transformers", "--output", tmp_path / "gpt2")
    assert kerora(*base).code == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "gpt2"))
    assert model.config.architectures == ["GPT2LMHeadModel"]
    assert "exists. Choose another --output" in kerora(*base).error
    output = ("--output", tmp_path / "new")
    assert "--base is written without a run" in kerora(*base[:3], "--format", "onnx", *output).error
    assert "Name a run, or a pre-trained model" in kerora("export", "--format", "transformers", *output).error
    assert not (tmp_path / "new").exists()
