"""Weight files of a model folder are found, checked and read as float32."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kerora.errors import PresetError
from kerora.models.tensor_files import TensorFiles, weight_files


def test_safetensors_go_before_torch_files(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert weight_files(tmp_path) == [tmp_path / "pytorch_model.bin"]
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    assert TensorFiles(tmp_path).read("a") == [1.0]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_shards(name: str, tmp_path: Path) -> None:
    save = save_file if name.endswith("safetensors") else torch.save
    stem, suffix = name.split(".")
    shards = [f"{stem}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    save({"a": torch.arange(3, dtype=torch.float16)}, tmp_path / shards[0])
    save({"b": torch.ones(2, 2, dtype=torch.bfloat16)}, tmp_path / shards[1])
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    (tmp_path / f"{name}.index.json").write_text(json.dumps(index))
    tensors = TensorFiles(tmp_path)
    assert tensors.names == ("a", "b")
    assert tensors.read("a").dtype == tensors.read("b").dtype == np.float32
    assert tensors.read("a").tolist() == [0, 1, 2]
    (tmp_path / shards[1]).unlink()
    with pytest.raises(PresetError, match=f"lacks the weight file {shards[1]}"):
        TensorFiles(tmp_path)


def test_a_shard_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    with pytest.raises(PresetError, match=r"lacks the weight file other\.safetensors"):
        weight_files(folder)


def test_old_names_of_layer_norms(tmp_path: Path) -> None:
    save_file({"x.LayerNorm.gamma": torch.ones(1), "x.LayerNorm.beta": torch.zeros(1)}, tmp_path / "model.safetensors")
    tensors = TensorFiles(tmp_path)
    assert "x.LayerNorm.weight" in tensors and "x.LayerNorm.bias" in tensors
    assert tensors.read("x.LayerNorm.weight") == [1.0]


def test_no_weights_and_no_such_tensor(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"holds no weights: neither model\.safetensors nor pytorch_model\.bin"):
        TensorFiles(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(PresetError, match="lack the tensor 'b'"):
        TensorFiles(tmp_path).read("b")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("content", [b"", b"no weights at all, only text", b"\x80\x04]"])
def test_damaged_files(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PresetError, match="cannot be read") as caught:
        TensorFiles(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_index(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    with pytest.raises(PresetError, match="is damaged"):
        weight_files(tmp_path)


class Attack:
    """What a hostile pickle holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


def test_nothing_in_a_torch_file_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"a": Attack(marker)}, tmp_path / "pytorch_model.bin", pickle_module=pickle)
    with pytest.raises(PresetError, match="cannot be read"):
        TensorFiles(tmp_path)
    assert not marker.exists()
