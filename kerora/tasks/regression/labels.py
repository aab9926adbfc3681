"""labels.json of a regression: the names of the targets, and the scale by which training standardised them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.data.numbers import Scale
from kerora.errors import RunError
from kerora.runfolder import read_json, write_json


@dataclass(frozen=True)
class Targets:
    """The targets of a run.

    Attributes:
        names: their names, in the order of the outputs.
        scale: their mean and deviation in the training rows.
    """

    names: tuple[str, ...]
    scale: Scale


def read_targets(path: Path) -> Targets:
    """Read labels.json.

    Raises:
        RunError: the file is missing or damaged.
    """
    content = read_json(path)
    names = content.get("targets")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise RunError(f"{path} is damaged: 'targets' must be a list of names. Received: {names!r:.80}")
    values = {key: _numbers(content.get(key), len(names)) for key in ("mean", "deviation")}
    wrong = next((key for key, found in values.items() if found is None), None)
    if wrong is not None or not all(value > 0 for value in values["deviation"] or ()):
        key = wrong or "deviation"
        raise RunError(
            f"{path} is damaged: '{key}' must be a list of {len(names)} numbers"
            f"{' above 0' * (key == 'deviation')}. Received: {content.get(key)!r:.80}"
        )
    return Targets(tuple(names), Scale(values["mean"] or (), values["deviation"] or ()))


def write_targets(path: Path, targets: Targets) -> None:
    """Write labels.json. JSON holds floats with all their digits."""
    scale = targets.scale
    content = {"targets": list(targets.names), "mean": list(scale.mean), "deviation": list(scale.deviation)}
    write_json(path, content)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    numbers = isinstance(value, list) and all(isinstance(item, int | float) for item in value)
    if not numbers or len(value) != count or not all(math.isfinite(item) for item in value):
        return None
    return tuple(map(float, value))
