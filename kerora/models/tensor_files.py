"""Reads the weight files of a Hugging Face model folder, one tensor at a time."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from kerora.errors import PresetError

SAFETENSORS = "model.safetensors"
TORCH = "pytorch_model.bin"
_RENAMED = {".gamma": ".weight", ".beta": ".bias"}


def weight_files(directory: Path) -> list[Path]:
    """Return the weight files: safetensors, or torch files if there are no safetensors. An index gives all its shards.

    Returns:
        Paths in the order of the shards; empty if the folder holds no weights.

    Raises:
        PresetError: an index is damaged or one of its shards is missing.
    """
    for name in (SAFETENSORS, TORCH):
        index = directory / f"{name}.index.json"
        if (directory / name).is_file():
            return [directory / name]
        if index.is_file():
            return _shards(index)
    return []


def _shards(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        # Only the name, so that an index cannot lead to files outside the folder.
        shards = [index.parent / Path(name).name for name in sorted(set(weight_map.values()))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PresetError(f"The weight index {index} is damaged: {error!r}. Download the model again.") from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise PresetError(
            f"{index.parent} lacks the weight file {missing[0]} that {index.name} lists. Download it again."
        )
    return shards


class TensorFiles:
    """The tensors of a model folder by name.

    Names in old checkpoints that end in ``gamma`` and ``beta`` become ``weight`` and ``bias``, as in transformers.
    Torch files are read with ``weights_only``, so no code in them runs.

    Args:
        directory: Hugging Face model folder.

    Raises:
        PresetError: the folder holds no weights, or a file is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        files = weight_files(directory)
        if not files:
            raise PresetError(
                f"{directory} holds no weights: neither {SAFETENSORS} nor {TORCH}, whole or in shards. "
                "Download the model again."
            )
        self._sources: dict[str, tuple[Any, str]] = {}
        for path in files:
            self._add(path)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._sources)

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def read(self, name: str) -> np.ndarray:
        """Return a tensor as float32, whatever its precision in the file.

        Raises:
            PresetError: there is no such tensor.
        """
        if name not in self._sources:
            raise PresetError(f"The weights in {self.directory} lack the tensor {name!r}. Download the model again.")
        file, raw_name = self._sources[name]
        tensor = file[raw_name] if isinstance(file, dict) else file.get_tensor(raw_name)
        # numpy has no bfloat16, so torch widens the tensor.
        return np.asarray(tensor.detach().float().numpy())

    def _add(self, path: Path) -> None:
        try:
            file: Any
            if path.suffix == ".safetensors":
                # This maps the file. Only the tensors that are read take memory.
                file = safe_open(path, framework="pt")
                names = list(file.keys())
            else:
                file = torch.load(path, map_location="cpu", weights_only=True)
                names = [name for name, value in file.items() if isinstance(value, torch.Tensor)]
        except (SafetensorError, UnpicklingError, RuntimeError, OSError, ValueError, AttributeError, EOFError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise PresetError(f"The weight file {path} cannot be read: {reason}. Download the model again.") from error
        for name in names:
            self._sources[_modern(name)] = (file, name)


def _modern(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
