"""Language models: fresh ones, those of runs, and their bases."""

from pathlib import Path
from typing import Any

from kerora.models.causal_lm import CausalLM
from kerora.models.precision import backbone_dtype
from kerora.models.presets import Preset
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig


def build(config: FitConfig, preset: Preset, dataset: Any) -> CausalLM:
    """Build the language model; it has no head of its own."""
    return of_run(config, preset, None, backbone_dtype(config))


def of_run(config: FitConfig, preset: Preset, head: None, dtype: str) -> CausalLM:
    """Build a run's language model, without its adapter."""
    return CausalLM.from_preset(preset, max_length=config.model.max_length, dtype=dtype)


def read_head(run: RunFolder) -> None:
    """Read nothing: the settings say all."""


def write_head(run: RunFolder, model: CausalLM) -> None:
    """Write nothing: there are no classes."""


def plain_copy(model: CausalLM, seed: int | None = None) -> CausalLM:
    """Return the base, float32; it has no head to draw."""
    return CausalLM.from_preset(model.preset, max_length=model.max_length)


def of_folder(directory: Path, like: CausalLM) -> CausalLM:
    """Load an exported preset."""
    return CausalLM.from_preset(str(directory), max_length=like.max_length)


def shape(model: CausalLM) -> str:
    """Say that there are no classes."""
    return "no classes, for it is a language model,"
