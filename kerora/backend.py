"""Selects the torch backend of Keras, and imports KerasHub without TensorFlow.

If TensorFlow is installed, KerasHub imports it when KerasHub is imported and when a preset is loaded or saved. That is
slow, needs memory, can occupy the memory of a GPU, and is of no use for Kerora. Both are therefore done inside
`without_tensorflow`.
"""

import functools
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from kerora.errors import KeroraError
from kerora.fast.allocator import keep_heap, use_huge_pages
from kerora.fast.saving import remember_attributes
from kerora.places import expanded

KERAS_SETTINGS = "keras.json"
_KERAS_ACCEPTS: dict[str, Callable[[Any], bool]] = {
    "floatx": lambda value: value in ("float16", "float32", "float64"),
    "epsilon": lambda value: isinstance(value, float),
    "image_data_format": lambda value: value in ("channels_last", "channels_first"),
}
"""What Keras accepts in keras.json (keras/src/backend/config.py of 3.15). It raises an error for other values."""


def select_torch_backend() -> None:
    """Make torch the backend of Keras. The values of ``KERAS_BACKEND`` and ``~/.keras/keras.json`` are ignored.

    Kerora works only with torch. It therefore replaces another value of the variable, if keras is not imported yet.
    Every dtype is a setting of Kerora. A keras.json that Keras would refuse, such as one with the floatx bfloat16, is
    therefore left out.

    Raises:
        KeroraError: keras is already imported on another backend.
    """
    keras = sys.modules.get("keras")
    if keras is not None and keras.config.backend() != "torch":
        raise KeroraError(
            f"Kerora needs Keras on the torch backend, but keras is already imported on {keras.config.backend()!r}. "
            "Import kerora before keras, or set KERAS_BACKEND=torch."
        )
    # Keras reads this when it is imported. Without it, keras 3 takes TensorFlow and writes that into keras.json.
    os.environ["KERAS_BACKEND"] = "torch"
    if keras is None:
        avoid_refused_settings()


@functools.cache
def avoid_refused_settings() -> str:
    """Let Keras read its settings from a folder of its own if it would refuse those of the user at its import.

    Returns:
        The file keras.json of the user and what Keras would refuse in it, or "" if the file is used.
    """
    refused = _refused_settings()
    if refused:
        os.environ["KERAS_HOME"] = str(_keras_folder() / "kerora")
    return refused


def _refused_settings() -> str:
    path = _keras_folder() / KERAS_SETTINGS
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return ""  # Keras ignores a file that is not JSON.
    except OSError:
        return f"{path} cannot be read" if path.exists() else ""
    if not isinstance(values, dict):
        return f"{path} holds no JSON object"
    faults = [
        f"{key} is {values[key]!r}"
        for key, accepts in _KERAS_ACCEPTS.items()
        if key in values and not accepts(values[key])
    ]
    return f"{path}: {', '.join(faults)}" if faults else ""


def _keras_folder() -> Path:
    """Return the folder in which Keras looks for keras.json."""
    if "KERAS_HOME" in os.environ:
        return expanded(os.environ["KERAS_HOME"])
    home = os.path.expanduser("~")
    return Path(home if os.access(home, os.W_OK) else "/tmp", ".keras")


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Hide TensorFlow from imports inside the block, unless it is already imported.

    Use it around every import of KerasHub and whenever KerasHub loads or saves a preset. After the block TensorFlow can
    be imported as usual (TFDS needs it for some data sets).
    """
    with hidden("tensorflow", "tensorflow_text"):
        yield


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Make imports of modules fail inside the block, unless they are already imported."""
    # An import of a module whose entry in sys.modules is None raises ImportError. The entry must be removed afterwards.
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in absent:
            # another value: the block has imported the module itself, and it stays
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


def import_keras_hub() -> ModuleType:
    """Import KerasHub on the torch backend without TensorFlow, and return it.

    Raises:
        KeroraError: keras is already imported on another backend.
    """
    select_torch_backend()
    # before torch makes its first tensor: both settings count only for later allocations
    keep_heap()
    use_huge_pages()
    # KerasHub imports grain if it is installed, and grain warns on standard error that jax is absent
    with without_tensorflow(), quiet_absl():
        keras_hub = importlib.import_module("keras_hub")
    remember_attributes()
    return keras_hub


@contextmanager
def quiet_absl() -> Iterator[None]:
    """Hide warnings that TFDS and grain write through absl, whose logger prints on standard error by default."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy, torch and Keras.

    `keras.utils.set_random_seed` alone would import TensorFlow if it is installed.
    """
    select_torch_backend()
    with without_tensorflow():
        importlib.import_module("keras").utils.set_random_seed(seed)
