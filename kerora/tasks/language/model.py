"""Build language models: new ones, those of runs, and their base models."""

from pathlib import Path
from typing import Any

from kerora.models.causal_lm import CausalLM
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig


def build(config: FitConfig, preset: Preset, dataset: Any) -> CausalLM:
    """Build the language model. It has no head of its own."""
    model = of_run(config, preset, None, backbone_dtype(config))
    model.truncate = config.model.truncate  # an error if it is left
    return model


def of_run(config: FitConfig, preset: Preset, head: None, dtype: str) -> CausalLM:
    """Build the language model of a run, without its adapter."""
    return CausalLM.from_preset(preset, max_length=config.model.max_length, dtype=dtype)


def read_head(run: RunFolder) -> None:
    """Read nothing: the model needs only the settings."""


def head_of(model: CausalLM) -> None:
    """Return None: a language model needs nothing but the settings."""


def write_head(run: RunFolder, model: CausalLM) -> None:
    """Write nothing: there are no classes."""


def plain_copy(model: CausalLM, seed: int | None = None) -> CausalLM:
    """Return the base model in float32. It has no head, so `seed` has no effect."""
    return CausalLM.from_preset(model.preset, max_length=model.max_length)


def of_folder(directory: Path, like: CausalLM) -> CausalLM:
    """Load an exported preset."""
    return CausalLM.from_preset(str(directory), max_length=like.max_length)


def shape(model: CausalLM) -> str:
    """Return that there are no classes."""
    return "no classes (a language model)"
