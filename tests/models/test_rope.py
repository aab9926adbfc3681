"""Rotary embeddings as transformers 4 and 5 write them into config.json."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from kerora.errors import PresetError
from kerora.models.causal_lm import CausalLM
from tests.tiny_decoders import tiny_decoder

SCALED = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
WRITERS: dict[str, dict[str, Any]] = {
    "5": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, **SCALED}},
    "4": {"rope_theta": 500.0, "rope_scaling": {"rope_type": "llama3", **SCALED}},
    "plain 5": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "plain 4": {"rope_theta": 500.0, "rope_scaling": None},
}


def rewrite(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if not key.startswith("rope_")}
    path.write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("writer", WRITERS)
def test_scaled_llama(writer: str, tmp_path: Path) -> None:
    folder = tiny_decoder("llama3", tmp_path / "model")
    rewrite(folder, WRITERS[writer])
    ids = np.random.default_rng(0).integers(3, 300, (2, 32))
    model = CausalLM.from_preset(str(folder))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = theirs(torch.tensor(ids)).logits
    ours = model.logits({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    torch.testing.assert_close(ours, wanted, atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("qwen", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}}, "rope_type='yarn'"),
        ("mistral", {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type='linear'"),
        ("gemma", {"rope_parameters": {"rope_type": "default", "rope_theta": 5e4}}, "rope_theta=50000.0"),
        ("gemma3", {"rope_theta": 1e6, "rope_local_base_freq": 5e3}, "rope_theta=5000.0"),
        ("gemma3", {"rope_parameters": {"full_attention": {"rope_theta": 5.0}}}, r"rope_theta=5\.0"),
        ("llama3", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "lacks factor"),
    ],
)
def test_what_kerashub_cannot_express(kind: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = tiny_decoder(kind, tmp_path / "model")
    rewrite(folder, changes)
    with pytest.raises(PresetError, match=message) as caught:
        CausalLM.from_preset(str(folder))
    assert "\n" not in str(caught.value)
