"""Selects the weights that are trained: low-rank updates, all weights, or only the head."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import keras

from kerora.errors import ConfigError
from kerora.lora.files import load_adapter
from kerora.lora.inject import LoraSummary, enable_lora, summarize, train_full, train_head
from kerora.lora.select import find_head
from kerora.lora.source import adapter_folder
from kerora.settings.fit import FitConfig
from kerora.settings.lora import LoraConfig

Number = TypeVar("Number", int, float)


def adapt(model: keras.Model, config: LoraConfig, seed: int) -> LoraSummary:
    """Prepare a model for training according to the settings, and return the weight counts.

    Raises:
        ConfigError: a setting does not fit the model.
    """
    # the adapter brings its own rank, targets and variant, so the other settings do not apply
    if config.from_adapter:
        load_adapter(model, adapter_folder(config.from_adapter))
        return summarize(model, find_head(model))
    if config.method != "lora":
        return (train_full if config.method == "full" else train_head)(model)
    return enable_lora(
        model,
        config.rank,
        config.alpha,
        config.dropout,
        config.targets,
        bias=config.bias,
        seed=seed,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        init=config.init,
        rank_pattern=parse_pattern("rank-pattern", config.rank_pattern, int),
        alpha_pattern=parse_pattern("alpha-pattern", config.alpha_pattern, float),
        layers=config.layers,
        modules_to_save=config.modules_to_save,
    )


def check_quantize(config: FitConfig) -> None:
    """Check that the settings train no quantised weight.

    Raises:
        ConfigError: they do.
    """
    lora = config.lora
    if config.model.quantize and (lora.method == "full" or lora.modules_to_save or lora.bias == "all"):
        raise ConfigError("--quantize freezes the base. Leave out --method full, --bias all and --modules-to-save.")


def parse_pattern(option: str, texts: Sequence[str], kind: Callable[[str], Number]) -> dict[str, Number]:
    """Read ``name=number`` settings.

    Raises:
        ConfigError: a text has another form.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            values[name.strip()] = kind(number)
        except ValueError:
            name = ""  # one error below serves both faults: no number and no name
        if not name.strip():
            raise ConfigError(f"--{option} needs NAME=NUMBER, for example query=16. Received: {text!r}")
    return values
