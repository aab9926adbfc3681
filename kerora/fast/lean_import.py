"""Imports Keras and KerasHub without what they only take along, and without the garbage collector's rounds."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from kerora.backend import hidden, import_keras_hub
from kerora.fast.switch import is_plain


def import_keras_lean() -> None:
    """Import Keras and KerasHub without what they take along wherever they find it, and Kerora's commands never use.

    For processes of Kerora's own: Keras' wrappers for scikit-learn, its plots and images, and KerasHub's downloads
    do not work afterwards, and torch.compile would go into functions that Keras keeps out of it. Kerora itself can
    import all of them as usual.
    """
    if "keras" in sys.modules:
        return
    if is_plain():
        import_keras_hub()
        return
    gc.disable()  # its rounds over the modules' hundred thousands of objects are a tenth of the import
    try:
        with hidden("sklearn", "matplotlib", "PIL", "kagglehub", "huggingface_hub"), _without_compiler():
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
    if is_plain():
        yield
        return
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
