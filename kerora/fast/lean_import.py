"""Imports Keras and KerasHub faster: without modules that Kerora does not use, and without garbage collection."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kerora.backend import hidden, import_keras_hub
from kerora.fast.late_compiler import without_compiler
from kerora.fast.switch import is_plain


def import_keras_lean() -> None:
    """Import Keras and KerasHub without the optional modules that the commands of Kerora never use.

    Use this only in the processes of Kerora. Afterwards these parts of Keras and KerasHub do not work: the wrappers for
    scikit-learn, plots, images, frames of pandas and downloads. Kerora itself can import all these modules as usual.
    """
    if "keras" in sys.modules:
        return
    if is_plain():
        import_keras_hub()
        return
    gc.disable()  # The import creates very many objects, and each collection would visit all of them.
    try:
        with hidden("sklearn", "matplotlib", "PIL", "pandas", "kagglehub", "huggingface_hub"), without_compiler():
            import_keras_hub()
    finally:
        # The objects of the import stay until the process ends. Later collections do not visit frozen objects.
        gc.freeze()
        gc.enable()


@contextmanager
def without_garbage_rounds() -> Iterator[None]:
    """Make calls of `gc.collect` inside the block do nothing. The automatic collections of Python continue.

    Keras calls it for each weight that it deletes. A collection visits all objects of Keras and torch, which is slow,
    and frees no memory that the last reference does not free.
    """
    if is_plain():
        yield
        return
    # Keras looks up `collect` in the module at each call, so it finds the replacement.
    collect = gc.collect
    gc.collect = lambda generation=2: 0
    try:
        yield
    finally:
        gc.collect = collect
