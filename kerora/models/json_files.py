"""Reads the JSON files of model folders."""

import json
from pathlib import Path
from typing import Any

from kerora.errors import PresetError


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        PresetError: the file is missing, is not JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PresetError(f"Cannot read {path}: {error.strerror}.") from error
    # JSON that is nested too deep raises RecursionError.
    except (ValueError, RecursionError) as error:
        raise PresetError(f"{path} is not valid JSON: {error}. Save or download the preset again.") from error
    if not isinstance(value, dict):
        raise PresetError(f"{path} must hold a JSON object. Received: {type(value).__name__}")
    return value
