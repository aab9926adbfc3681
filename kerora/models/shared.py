"""A base model that is loaded once for several models, one after another."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import torch

from kerora.lora.inject import lora_layers
from kerora.lora.layers import demote
from kerora.models.presets import Preset, find_preset


@dataclass
class _Loaded:
    """A loaded backbone.

    Attributes:
        settings: dtype and dropout that it was loaded with.
        backbone: the backbone.
        checksum: checksum of its weights.
        trainable: whether each of its variables was trainable, in their order.
    """

    settings: tuple[str, float]
    backbone: Any
    checksum: tuple[int, ...]
    trainable: list[bool]


@dataclass(frozen=True)
class SharedPreset(Preset):
    """A preset whose backbone is loaded once.

    Each call of `load_backbone` returns the same backbone, without the adapters that it had. So it takes the backbone
    away from the model before. A backbone whose weights were changed is loaded again.
    """

    _loaded: list[_Loaded] = field(default_factory=list, compare=False, repr=False)

    def load_backbone(self, dtype: str = "float32", dropout: float = 0.0) -> Any:
        """Return the backbone; see `Preset.load_backbone`."""
        settings = (dtype, dropout)
        if self._loaded and self._loaded[0].settings == settings and _restored(self._loaded[0]):
            return self._loaded[0].backbone
        # First, because two backbones may not fit into the memory.
        self._loaded.clear()
        backbone = super().load_backbone(dtype, dropout)
        trainable = [bool(variable.trainable) for variable in backbone.variables]
        self._loaded.append(_Loaded(settings, backbone, checksum(backbone), trainable))
        return backbone

    def state_of_files(self) -> list[tuple[Path, int, int]]:
        """Return size and time of change of each file, which tell whether the preset was replaced."""
        return [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(self.files())]


def open_shared(spec: str | Path) -> SharedPreset:
    """Find a preset, as `find_preset` does, and return it with a backbone that is loaded once."""
    found = find_preset(spec)
    return SharedPreset(**{spec.name: getattr(found, spec.name) for spec in dataclasses.fields(Preset)})


def _restored(loaded: _Loaded) -> bool:
    """Remove the adapters of a backbone, and tell whether its weights are those of the files."""
    for layer in lora_layers(loaded.backbone):
        demote(layer)
    if len(loaded.backbone.variables) != len(loaded.trainable):
        return False
    for variable, trainable in zip(loaded.backbone.variables, loaded.trainable, strict=True):
        variable.trainable = trainable
        variable.value.grad = None
    return checksum(loaded.backbone) == loaded.checksum


def checksum(model: keras.Model) -> tuple[int, ...]:
    """Return for each weight the sum of its bits as integers. The change of a single value always changes the sum."""
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    values = (weight.value.detach() for weight in model.weights)
    # integers, because a sum of floats can hide a small change; int64 wraps around without an error
    return tuple(
        int(value.contiguous().view(integers[value.element_size()]).sum(dtype=torch.int64)) for value in values
    )
