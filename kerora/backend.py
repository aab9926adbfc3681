"""Selects Keras' torch backend, and imports KerasHub without TensorFlow.

KerasHub imports TensorFlow wherever it is installed, on import and again at each preset it loads
or saves. That costs seconds and half a gigabyte, can seize a GPU's memory, and gives Kerora
nothing, so both happen inside `without_tensorflow`.
"""

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from kerora.allocator import keep_heap, use_huge_pages
from kerora.errors import KeroraError


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
    with _hidden("tensorflow", "tensorflow_text"):
        yield


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
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


def import_keras_alone() -> None:
    """Import Keras and KerasHub without what they take along wherever they find it, and Kerora's commands never use.

    For processes of Kerora's own: Keras' wrappers for scikit-learn, its plots and images, and KerasHub's downloads
    do not work afterwards, and torch.compile would go into functions that Keras keeps out of it. Kerora itself can
    import all of them as usual.
    """
    if "keras" in sys.modules:
        return
    gc.disable()  # its rounds over the modules' hundred thousands of objects are a tenth of the import
    try:
        with _hidden("sklearn", "matplotlib", "PIL", "kagglehub", "huggingface_hub"), _without_compiler():
            import_keras_hub()
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without_garbage_rounds() -> Iterator[None]:
    """Make calls of `gc.collect` inside the block do nothing; Python's own rounds go on.

    For Keras, which calls it for each weight that it deletes: one round goes over all objects of Keras, torch and what
    they import, half a second of it, and frees nothing that the last reference has not.
    """
    collect = gc.collect
    gc.collect = lambda generation=2: 0
    try:
        yield
    finally:
        gc.collect = collect


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Stand in for torch's compiler, of which Keras uses one decorator and whose import takes as long as torch's."""
    name = "torch._dynamo"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.disable = lambda: lambda function: function  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy, torch and Keras.

    `keras.utils.set_random_seed` by itself imports TensorFlow wherever it is installed.
    """
    select_torch_backend()
    with without_tensorflow():
        importlib.import_module("keras").utils.set_random_seed(seed)
