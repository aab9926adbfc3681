"""The temperature of an adapter, in the labels.json beside it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerora.errors import RunError
from kerora.runfolder import read_json

LABELS_FILE = "labels.json"


def temperature_of(content: Mapping[str, Any], path: Path) -> float:
    """Return the temperature that labels.json holds, or 1 if it holds none.

    Raises:
        RunError: it is no finite number above 0.
    """
    value = content.get("temperature", 1.0)
    # a bool is an int in Python, but true is no temperature
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise RunError(f"{path} is damaged: 'temperature' must be a number greater than 0. Received: {value!r}")
    return float(value)


def read_temperature(adapter: Path) -> float:
    """Return the temperature of an adapter folder. An adapter without labels.json, such as one of PEFT, has 1."""
    path = adapter / LABELS_FILE
    return temperature_of(read_json(path), path) if path.is_file() else 1.0
