"""What the comparison of several runs of any task has: names, and the settings in which they differ."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kerora.errors import RunError
from kerora.evaluation.results import RunResults

NOT_SETTINGS = ("run", "runs_dir")


def flatten_settings(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested settings."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def distinct_names(runs: Sequence[RunResults]) -> tuple[str, ...]:
    """Return a distinct name for each run: the folder's own, or where these repeat its path.

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
    """Return the settings in which runs differ, with a value for each run (None where it has none)."""
    flat = [dict(flatten_settings(run.settings)) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in NOT_SETTINGS)
    rows = {key: [settings.get(key) for settings in flat] for key in keys}
    return {key: values for key, values in rows.items() if differ(values)}


def differ(values: Iterable[Any]) -> bool:
    """Tell whether values are not all the same."""
    first, *others = values
    return any(value != first for value in others)
