"""One loaded base model for all estimators of a process, one after another."""

import threading
from pathlib import Path
from typing import Any

from kerora.models.shared import SharedPreset, open_shared
from kerora.runs.open import load
from kerora.settings.fit import FitConfig

LOCK = threading.RLock()
"""Is held while a model computes or trains: all models share one backbone."""
# The last base and the last model alone: several large models may not fit into the memory.
_bases: dict[str, tuple[SharedPreset, object]] = {}
_models: dict[Path, Any] = {}


def can_share(config: FitConfig) -> bool:
    """Tell whether a training leaves the base model unchanged, so that it need not be loaded again."""
    lora = config.lora
    plain = lora.bias == "none" and not lora.modules_to_save and lora.init != "pissa" and not lora.from_adapter
    return lora.method != "full" and plain and config.model.quantize is None


def base_of(config: FitConfig) -> SharedPreset | None:
    """Return the base model of the settings, loaded at most once; None if the settings train it or quantise it.

    Raises:
        PresetError: it is not found.
    """
    _models.clear()
    if not can_share(config):
        _bases.clear()
        return None
    spec = config.model.preset
    opened, state = _bases.get(spec, (None, None))
    if opened is None or opened.state_of_files() != state:
        _bases.clear()
        opened = open_shared(spec)
        _bases[spec] = (opened, opened.state_of_files())
    return opened


def model_of(run: Path, config: FitConfig) -> Any:
    """Return the model of a run. It may be used until the next call of `model_of` or `base_of`, inside `LOCK`.

    Raises:
        KeroraError: see `kerora.runs.open.load`.
    """
    if run not in _models:
        base = base_of(config)
        _models[run] = load(run, base)
    return _models[run]
