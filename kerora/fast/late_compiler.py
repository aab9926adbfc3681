"""Imports Keras without the compiler of torch, whose import takes a quarter of the time of Keras' own."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from kerora.fast.switch import is_plain

COMPILER = "torch._dynamo"


def can_come_late() -> bool:
    """Return whether the compiler may be imported after any other module.

    Triton belongs to the compiler on machines with a GPU. Python crashes if it loads triton 3.8 after TensorFlow 2.21,
    because both hold LLVM. A script that imports both needs the compiler first, as Keras has it.
    """
    # the file system, because `without_tensorflow` says in sys.modules that TensorFlow is absent
    return None in (PathFinder.find_spec("triton"), PathFinder.find_spec("tensorflow"))


@contextmanager
def without_compiler() -> Iterator[None]:
    """Replace the compiler of torch inside the block. Keras uses only its decorator `disable` at the import.

    The real compiler can be imported afterwards. Functions that Keras excludes from compilation stay excluded.
    """
    if is_plain() or COMPILER in sys.modules:
        yield
        return
    stand_in = ModuleType(COMPILER)
    stand_in.disable = lambda: _disabled  # type: ignore[attr-defined]
    sys.modules[COMPILER] = stand_in
    try:
        yield
    finally:
        del sys.modules[COMPILER]


def _disabled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Exclude a function from compilation as soon as the compiler is imported. Before that, nothing is compiled."""
    excluded: dict[str, Callable[..., Any]] = {}

    @functools.wraps(function)
    def never_compiled(*arguments: Any, **options: Any) -> Any:
        compiler = sys.modules.get(COMPILER)
        # a module that is only half imported has no `disable` yet
        if compiler is None or not hasattr(compiler, "disable"):
            return function(*arguments, **options)
        # once and not at each call, as torch does it for its own functions
        if "function" not in excluded:
            excluded["function"] = compiler.disable(function)
        return excluded["function"](*arguments, **options)

    return never_compiled
