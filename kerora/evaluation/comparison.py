"""What all comparisons of runs need: distinct names, and the settings that differ."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kerora.errors import RunError
from kerora.evaluation.results import RunResults

# the name and place of a run, which do not change its result
NOT_SETTINGS = ("run", "runs_dir")


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
    paths = Counter(run.folder.path.resolve() for run in runs)
    repeated = next((path for path, times in paths.items() if times > 1), None)
    if repeated is not None:
        raise RunError(f"The run {repeated} is given more than once. Give different runs to compare.")
    unique = len({run.name for run in runs}) == len(runs)
    return tuple(run.name if unique else str(run.folder.path) for run in runs)


def different_settings(runs: Sequence[RunResults]) -> dict[str, list[Any]]:
    """Return the settings that differ between runs, with one value per run. None stands for no value."""
    flat = [dict(flatten_settings(run.settings)) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in NOT_SETTINGS)
    rows = {key: [settings.get(key) for settings in flat] for key in keys}
    return {key: values for key, values in rows.items() if differ(values)}


def differ(values: Iterable[Any]) -> bool:
    """Return whether the values are not all equal."""
    first, *others = values
    return any(value != first for value in others)
