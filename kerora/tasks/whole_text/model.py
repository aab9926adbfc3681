"""What the tasks that read a whole text share when they build a model."""

from collections.abc import Sequence
from typing import Any

from kerora.errors import RunError
from kerora.lora.files import read_adapter_config
from kerora.runfolder import RunFolder
from kerora.settings.fit import FitConfig


def model_options(config: FitConfig) -> dict[str, Any]:
    """Return the arguments of `from_preset` that the settings give, whatever the head is."""
    return {
        "max_length": config.model.max_length,
        "head_dropout": config.model.head_dropout,
        "truncate": config.model.truncate,
        "seed": config.training.seed,
    }


def check_names(run: RunFolder, names: Sequence[str]) -> None:
    """Check that labels.json names the classes of the adapter: others would give predictions wrong names.

    Raises:
        RunError: it names others.
        AdapterError: adapter_config.json is missing or damaged.
    """
    own = list(names)
    # an adapter that names no classes passes
    if read_adapter_config(run.adapter).get("kerora", {}).get("classes", own) != own:
        raise RunError(f"{run.labels} does not name the classes that the adapter was trained on. Restore the file.")
