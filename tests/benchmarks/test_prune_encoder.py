"""An encoder cut out of another one: whole, it computes the same; smaller, it has what was asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import prune_encoder
from kerora.models.presets import find_preset
from tests.tiny_huggingface import tiny_huggingface

TEXTS = ["My parcel is late again, and nobody answers.", "A great film", "bad 12,34"]


def prune(monkeypatch: pytest.MonkeyPatch, teacher: Path, output: Path, text: Path, *options: str) -> None:
    arguments = ["prune_encoder", str(teacher), "--text", str(text), "--output", str(output), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    prune_encoder.main()


def states(folder: Path) -> np.ndarray:
    preset = find_preset(str(folder))
    table = preset.load_tokenizer().encode(TEXTS, max_length=24)
    outputs = []
    backbone = preset.load_backbone()
    for start, end in zip(table.offsets[:-1], table.offsets[1:], strict=True):
        ids = table.ids[start:end][None].astype("int32")
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
        with torch.no_grad():
            result = backbone({name: inputs[name] for name in backbone.input}, training=False)
        outputs.append(np.asarray(result["sequence_output"] if isinstance(result, dict) else result)[0])
    return np.concatenate(outputs)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(f"{text} {number}" for number, text in enumerate(TEXTS * 20)), encoding="utf-8")
    return path


def test_kept_whole_it_computes_what_its_teacher_does(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny_huggingface("bert", tmp_path / "teacher")
    prune(
        monkeypatch, teacher, tmp_path / "whole", text, "--layers", "0", "1", "--pieces", "99999", "--max-length", "24"
    )
    np.testing.assert_allclose(states(tmp_path / "whole"), states(teacher), atol=2e-5)


def test_layers_neurons_and_pieces_are_left_out(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tiny_huggingface("bert", tmp_path / "teacher")
    sizes = ("--layers", "1", "--intermediate", "10", "--pieces", "150", "--max-length", "24")
    prune(monkeypatch, teacher, tmp_path / "small", text, *sizes)
    backbone = find_preset(str(tmp_path / "small")).load_backbone()
    assert (backbone.num_layers, backbone.intermediate_dim, backbone.vocabulary_size) == (1, 10, 150)
    assert backbone.max_sequence_length == 24
    pieces = (tmp_path / "small" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(set(pieces)) == 150 and {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} <= set(pieces)
