"""Selects Keras' torch backend, and imports KerasHub without TensorFlow.

KerasHub imports TensorFlow wherever it is installed, on import and again at each preset it loads
or saves. That costs seconds and half a gigabyte, can seize a GPU's memory, and gives Kerora
nothing, so both happen inside `without_tensorflow`.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from kerora.errors import KeroraError
from kerora.fast.allocator import keep_heap, use_huge_pages


def select_torch_backend() -> None:
    """Make torch the backend of Keras, whatever ``KERAS_BACKEND`` and ``~/.keras/keras.json`` say.

    Kerora works only there, so another value of the variable is replaced as long as keras is not
    imported yet.

    Raises:
        KeroraError: keras is already imported on another backend.
    """
    keras = sys.modules.get("keras")
    if keras is not None and keras.config.backend() != "torch":
        raise KeroraError(
            f"Kerora needs Keras on the torch backend, but keras is already imported on {keras.config.backend()!r}. "
            "Import kerora before keras, or set KERAS_BACKEND=torch."
        )
    os.environ["KERAS_BACKEND"] = "torch"


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Hide TensorFlow from imports inside the block, unless it is loaded already.

    Wrap every import of KerasHub and every preset that it loads or saves. TensorFlow can be
    imported as usual after the block (TFDS needs it for some data sets).
    """
    with hidden("tensorflow", "tensorflow_text"):
        yield


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Let imports of modules fail inside the block, unless they are loaded already."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in absent:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


def import_keras_hub() -> ModuleType:
    """Import KerasHub on the torch backend without TensorFlow, and return it.

    Raises:
        KeroraError: keras is already imported on another backend.
    """
    select_torch_backend()
    keep_heap()
    use_huge_pages()
    with without_tensorflow():
        return importlib.import_module("keras_hub")


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy, torch and Keras.

    `keras.utils.set_random_seed` by itself imports TensorFlow wherever it is installed.
    """
    select_torch_backend()
    with without_tensorflow():
        importlib.import_module("keras").utils.set_random_seed(seed)
