"""The settings of Kerora for scripts: one place to import them from.

A script makes a `FitConfig` of its groups, or lets `resolve` build it from dotted keys:

    from kerora.config import FitConfig, ModelConfig, TrainingConfig, resolve

    FitConfig(model=ModelConfig(preset="kerora_mini_en"), training=TrainingConfig(epochs=3))
    resolve({"model.preset": "kerora_mini_en", "training.epochs": 3})

The modules of `kerora.settings` define all of it.
"""

from kerora.settings.fit import DataConfig, FitConfig, ModelConfig, OptimizerConfig, TrainingConfig
from kerora.settings.language import LanguageConfig, Sampling
from kerora.settings.lora import LoraConfig
from kerora.settings.pretrain import (
    CorpusConfig,
    DistillationConfig,
    EncoderConfig,
    PretrainConfig,
    PretrainingConfig,
)
from kerora.settings.resolve import (
    Setting,
    dump_yaml,
    flatten,
    load_yaml,
    parse_assignment,
    resolve,
    settings,
    to_dict,
)
from kerora.settings.tune import TuneConfig

__all__ = [
    "CorpusConfig",
    "DataConfig",
    "DistillationConfig",
    "EncoderConfig",
    "FitConfig",
    "LanguageConfig",
    "LoraConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "PretrainingConfig",
    "Sampling",
    "Setting",
    "TrainingConfig",
    "TuneConfig",
    "dump_yaml",
    "flatten",
    "load_yaml",
    "parse_assignment",
    "resolve",
    "settings",
    "to_dict",
]
