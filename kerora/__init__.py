"""Kerora: fine-tune Keras text models with LoRA.

Importing the package selects the torch backend for Keras and loads nothing else; the names
below are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kerora.backend import select_torch_backend
from kerora.version import __version__

if TYPE_CHECKING:
    from kerora.backend import set_random_seed
    from kerora.data.batches import Batches
    from kerora.data.sources import load_dataset
    from kerora.lora.files import load_adapter, save_adapter
    from kerora.lora.inject import disable_adapter, enable_lora, merge_lora, remove_lora, unmerge_lora
    from kerora.models.causal_lm import CausalLM
    from kerora.models.classifier import TextClassifier
    from kerora.runs.open import load
    from kerora.settings.fit import FitConfig
    from kerora.settings.tune import TuneConfig
    from kerora.training.fit import fit
    from kerora.training.schedules import WarmupSchedule
    from kerora.training.step import TrainStep
    from kerora.tuning.study import tune

select_torch_backend()

_HOMES = {
    "Batches": "kerora.data.batches",
    "CausalLM": "kerora.models.causal_lm",
    "FitConfig": "kerora.settings.fit",
    "TextClassifier": "kerora.models.classifier",
    "TrainStep": "kerora.training.step",
    "TuneConfig": "kerora.settings.tune",
    "WarmupSchedule": "kerora.training.schedules",
    "disable_adapter": "kerora.lora.inject",
    "enable_lora": "kerora.lora.inject",
    "fit": "kerora.training.fit",
    "load": "kerora.runs.open",
    "load_adapter": "kerora.lora.files",
    "load_dataset": "kerora.data.sources",
    "merge_lora": "kerora.lora.inject",
    "remove_lora": "kerora.lora.inject",
    "save_adapter": "kerora.lora.files",
    "set_random_seed": "kerora.backend",
    "tune": "kerora.tuning.study",
    "unmerge_lora": "kerora.lora.inject",
}

__all__ = [
    "Batches",
    "CausalLM",
    "FitConfig",
    "TextClassifier",
    "TrainStep",
    "TuneConfig",
    "WarmupSchedule",
    "__version__",
    "disable_adapter",
    "enable_lora",
    "fit",
    "load",
    "load_adapter",
    "load_dataset",
    "merge_lora",
    "remove_lora",
    "save_adapter",
    "set_random_seed",
    "tune",
    "unmerge_lora",
]


def __getattr__(name: str) -> Any:
    if name == "callbacks":
        return importlib.import_module("kerora.callbacks")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kerora' has no attribute '{name}'")
