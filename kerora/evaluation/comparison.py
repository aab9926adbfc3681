"""What all comparisons of runs need: distinct names, and the settings that differ."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerora.errors import RunError
from kerora.evaluation.results import RunResults
from kerora.evaluation.wording import lookup, number

# split, id, and how many rows with this id came before
Key = tuple[str, str, int]
# the name and place of a run, and its logs, which do not change its result
NOT_SETTINGS = ("run", "runs_dir", "log")


def flatten_settings(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested settings."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def distinct_names(runs: Sequence[RunResults]) -> tuple[str, ...]:
    """Return a distinct name for each run: the name of its folder. If two names are equal, return paths.

    Raises:
        RunError: a run is given more than once.
    """
    # resolved, so that a link and its target count as one run
    paths = Counter(run.folder.path.resolve() for run in runs)
    repeated = next((path for path, times in paths.items() if times > 1), None)
    if repeated is not None:
        raise RunError(f"The run {repeated} is given more than once. Give different runs to compare.")
    unique = len({run.name for run in runs}) == len(runs)
    return tuple(run.name if unique else str(run.folder.path) for run in runs)


def row_places(split: str, ids: Sequence[str]) -> dict[Key, int]:
    """Return the position of each row. The key counts how often the id occurred before, as ids may repeat."""
    seen: Counter[str] = Counter()
    places = {}
    for place, identifier in enumerate(ids):
        places[split, identifier, seen[identifier]] = place
        seen[identifier] += 1
    return places


def different_settings(runs: Sequence[RunResults]) -> dict[str, list[Any]]:
    """Return the settings that differ between runs, with one value per run. None stands for no value."""
    flat = [dict(flatten_settings(run.settings)) for run in runs]
    # a dict keeps the order of config.yaml, a set would not
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in NOT_SETTINGS)
    rows = {key: [settings.get(key) for settings in flat] for key in keys}
    return {key: values for key, values in rows.items() if differ(values)}


@dataclass(frozen=True)
class Cost:
    """What the training of a run took.

    Attributes:
        name: name of the run.
        method: what was trained, in words.
        trainable: number of trained weights. None if not recorded.
        total: number of all weights. None if not recorded.
        seconds: training time. None if not recorded.
        epochs: number of trained epochs.
        memory: largest memory of the process while it trained, in MB. None if not recorded.
        tokens: mean tokens per second without padding. None if not recorded.
    """

    name: str
    method: str
    trainable: float | None
    total: float | None
    seconds: float | None
    epochs: int
    memory: float | None
    tokens: float | None


def costs(names: Sequence[str], runs: Sequence[RunResults]) -> list[Cost]:
    """Return what the training of each run took, from run.json and history.csv."""
    return [_cost(name, run) for name, run in zip(names, runs, strict=True)]


def _cost(name: str, run: RunResults) -> Cost:
    method, rank = (lookup(run.settings, "lora", key) for key in ("method", "rank"))
    words = {"full": "full fine-tuning", "head": "head alone"}.get(str(method), f"LoRA rank {rank}" if rank else "-")
    trainable, total = (number(lookup(run.manifest, "parameters", key)) for key in ("trainable", "total"))
    memory, tokens = (run.history.get(key, np.array([])) for key in ("peak_memory_mb", "tokens_per_second"))
    return Cost(
        name,
        words,
        trainable,
        total,
        number(run.manifest.get("training_seconds")),
        run.epochs,
        # without values, nanmax fails and nanmean warns
        float(np.nanmax(memory)) if np.isfinite(memory).any() else None,
        float(np.nanmean(tokens)) if np.isfinite(tokens).any() else None,
    )


def rate_notes(names: Sequence[str], runs: Sequence[RunResults]) -> list[str]:
    """Return a note if runs with different methods have the same learning rate, which suits at most one of them."""
    found: dict[Any, dict[str, str]] = {}
    for name, run in zip(names, runs, strict=True):
        method = lookup(run.settings, "lora", "method")
        if method in ("full", "lora"):
            found.setdefault(lookup(run.settings, "training", "learning_rate"), {}).setdefault(method, name)
    return [
        f"{methods['full']} (full fine-tuning) and {methods['lora']} (LoRA) have the same learning rate, {rate:g}. "
        "LoRA needs about ten times the rate of full fine-tuning, so one of them is not at its best. Leave "
        "--learning-rate out: each method then has its own default."
        for rate, methods in found.items()
        if len(methods) == 2 and isinstance(rate, int | float)
    ]


def differ(values: Iterable[Any]) -> bool:
    """Return whether the values are not all equal."""
    first, *others = values
    return any(value != first for value in others)
