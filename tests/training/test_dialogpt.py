"""The shipped run of DialoGPT on IMDb, on caches laid out as downloads leave them: a hub's and TFDS'."""

import csv
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from kerora.cli.main import run as kerora
from kerora.lora.files import CONFIG_FILE, OWN_FILE, WEIGHTS_FILE
from kerora.runfolder import RunFolder
from tests.conftest import ROOT
from tests.models.test_hub import fill_hugging_face_cache
from tests.tiny import WORDS
from tests.tiny_huggingface import tiny_huggingface

UPDATES, LENGTH, WIDTH, LAYERS, RANK = 12, 32, 32, 2, 16


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IMDb as TFDS prepares it, of few words."""
    import tensorflow_datasets as tfds

    draws = np.random.default_rng(0)

    def examples(count: int) -> list[tuple[int, dict[str, object]]]:
        starts = draws.integers(0, 40, count)
        return [
            (at, {"text": " ".join(WORDS[(start + step) % 40] for step in range(20)), "label": at % 2})
            for at, start in enumerate(starts.tolist())
        ]

    folder = tmp_path_factory.mktemp("tfds")
    parts = {"train": examples(150), "test": examples(8)}

    # not registered, because another test may ask for the data set that TFDS knows by this name
    with tfds.core.registered.skip_registration():

        class ImdbReviews(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")
            BUILDER_CONFIGS: ClassVar[list[Any]] = [tfds.core.BuilderConfig(name="plain_text", description="")]

            def _info(self) -> Any:
                label = tfds.features.ClassLabel(names=["neg", "pos"])
                features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label})
                return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

            def _split_generators(self, downloads: Any) -> Any:
                return {split: iter(rows) for split, rows in parts.items()}

            def _generate_examples(self) -> Any:
                raise NotImplementedError

    # array_record, because TFDS needs TensorFlow to write TFRecord files
    ImdbReviews(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def dialogpt(folder: Path) -> Path:
    """Write a tiny DialoGPT as the hub has it: half precision in pytorch_model.bin, old buffers, an untied copy."""
    tiny_huggingface("gpt2", folder, layout="old", task="LMHeadModel", initializer_range=0.4)
    tensors = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    for layer in range(LAYERS):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 64, 64).tril().half()
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    return folder


@pytest.mark.slow
def test_the_shipped_run(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    fill_hugging_face_cache(dialogpt(tmp_path / "model"), tmp_path, "microsoft/DialoGPT-medium")
    monkeypatch.chdir(tmp_path)
    sizes = f"--max-steps {UPDATES} --warmup-steps 6 --save-steps 5 --logging-steps 3 --max-length {LENGTH}"
    command = f"fit --config {ROOT}/configs/dialogpt-imdb.yaml --data-dir {reviews} --precision float32 {sizes} --quiet"
    assert kerora([*command.split(), "--learning-rate", "0.01"]) == 0

    run = RunFolder(tmp_path / "runs" / "dialogpt-imdb")
    manifest = run.read_manifest()
    assert manifest["state"] == "finished"
    # query, key, value and both outputs, a pair of matrices each
    wanted = LAYERS * RANK * (3 * 2 * WIDTH + 2 * WIDTH + 5 * WIDTH)
    assert (manifest["parameters"]["lora"], manifest["parameters"]["trainable"]) == (wanted, wanted)
    with run.steps.open() as stream:
        steps = list(csv.DictReader(stream))
    assert [int(row["step"]) for row in steps] == [3, 6, 9, 12]
    assert math.isclose(float(steps[0]["learning_rate"]), 0.01 * 4 / 6, rel_tol=1e-5), "warm-up, of the next update"
    assert float(steps[-1]["loss"]) < float(steps[0]["loss"])
    # 147 reviews make fewer than 12 updates of 4 x 4 rows an epoch, so that max_steps ends in another epoch
    assert int(steps[-1]["epoch"]) > 1
    assert "step-000012" in {path.name for path in run.checkpoints.iterdir()}
    before, after = (json.loads(run.metrics.read_text())[when]["test"] for when in ("before", "after"))
    assert after["perplexity"] < before["perplexity"]
    _only_the_adapter_is_saved(run, wanted)


def _only_the_adapter_is_saved(run: RunFolder, parameters: int) -> None:
    assert {path.name for path in run.adapter.iterdir()} == {WEIGHTS_FILE, CONFIG_FILE, OWN_FILE}
    tensors = load_file(run.adapter_weights)
    assert all(".lora_" in name for name in tensors)
    config = json.loads(run.adapter_config.read_text())
    targets = {name.partition(".h.")[2][2:] for name in config["target_modules"]}
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (RANK, 32, 0.05)
    assert targets == {"attn.c_attn", "attn.c_proj", "mlp.c_proj"}
    # PEFT has query, key and value as one matrix, so that two thirds of its B are zeros
    zeros = LAYERS * 3 * WIDTH * 2 * RANK
    assert sum(value.numel() for value in tensors.values()) == parameters + zeros
    weights = [path.name for path in run.path.rglob("*") if path.suffix in (".safetensors", ".h5", ".bin", ".keras")]
    assert sorted(weights) == ["adapter_model.safetensors", "state.safetensors"]
    state = load_file(next(run.checkpoints.iterdir()) / "state.safetensors")
    assert sum(value.numel() for name, value in state.items() if name.startswith("weight")) == parameters
