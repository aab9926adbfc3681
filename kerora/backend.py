"""Selects the torch backend of Keras, and imports KerasHub without TensorFlow.

If TensorFlow is installed, KerasHub imports it when KerasHub is imported and when a preset is loaded or saved. That is
slow, needs memory, can occupy the memory of a GPU, and is of no use for Kerora. Both are therefore done inside
`without_tensorflow`.
"""

import functools
import importlib
import importlib.abc
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from kerora.errors import KeroraError
from kerora.fast.allocator import keep_heap, use_huge_pages
from kerora.fast.late_compiler import can_come_late, without_compiler
from kerora.fast.saving import remember_attributes
from kerora.notices import quiet
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


def offer_to_keras(homes: Mapping[str, str]) -> None:
    """Make classes known to `keras.saving.load_model` without importing their modules, now or when keras is imported.

    Args:
        homes: the module of each class. The class is registered under the package name ``kerora``.
    """
    if "keras" in sys.modules:
        _register(homes)
    else:
        sys.meta_path.insert(0, _AfterKeras(homes))


def _register(homes: Mapping[str, str]) -> None:
    known = importlib.import_module("keras").saving.get_custom_objects()
    for name, home in homes.items():
        # The module itself registers the class when it is imported.
        known.setdefault(f"kerora>{name}", _Deferred(name, home))


class _Deferred:
    """Stands for a class of a module that is not imported yet. Keras needs only its `from_config`."""

    def __init__(self, name: str, home: str) -> None:
        self.name, self.home = name, home

    def from_config(self, config: dict[str, Any]) -> Any:
        """Build an object of the class."""
        return getattr(importlib.import_module(self.home), self.name).from_config(config)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers classes when keras is imported, and spares the import of torch's compiler."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self.homes = homes

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Return the spec of keras with a loader that registers the classes afterwards, and None for other modules."""
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            with without_compiler() if can_come_late() else nullcontext():
                load(module)
            _register(self.homes)

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


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
    with without_tensorflow(), quiet("absl"):
        keras_hub = importlib.import_module("keras_hub")
    remember_attributes()
    return keras_hub


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy, torch and Keras.

    `keras.utils.set_random_seed` alone would import TensorFlow if it is installed.
    """
    select_torch_backend()
    with without_tensorflow():
        importlib.import_module("keras").utils.set_random_seed(seed)
