"""Notices: one line about a choice that Kerora made between two readings of the input.

In a script a notice is a Python warning. The command line prints each notice once, on standard error.
"""

import contextlib
import inspect
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from kerora.errors import KeroraError, spoken

_LIBRARIES = ("kerora", "keras", "contextlib", "sklearn")
_RENAME: ContextVar[Callable[[str], str] | None] = ContextVar("rename", default=None)


class Notice(UserWarning):
    """A choice that Kerora made. The input was used."""


def notice(text: str) -> None:
    """Say one line about a choice."""
    warnings.warn(spoken(renamed(text)), Notice, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """Return the level of the code that called Kerora, directly or through Keras, as seen by `notice`."""
    for level, (frame, _) in enumerate(traceback.walk_stack(inspect.currentframe()), 0):
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            return level
    return 1


@contextlib.contextmanager
def naming(rename: Callable[[str], str]) -> Iterator[None]:
    """Change the texts of the notices and errors of the block, and the names of files in its lists of bad rows.

    Args:
        rename: returns the new text, for example with the name of an argument for the path of a temporary file.
    """
    outer = _RENAME.get()
    token = _RENAME.set(rename if outer is None else lambda text: outer(rename(text)))
    try:
        yield
    except KeroraError as error:
        error.args = (rename(str(error.args[0])), *error.args[1:])
        raise
    finally:
        _RENAME.reset(token)


def renamed(text: str) -> str:
    """Return a text as the enclosing `naming` changes it."""
    rename = _RENAME.get()
    return text if rename is None else rename(text)


@contextlib.contextmanager
def shown(say: Callable[[str], None]) -> Iterator[None]:
    """Give each notice to `say` once, without the place in the code that a warning has. Other warnings stay."""
    said: set[str] = set()
    with warnings.catch_warnings():
        # By default Python shows a text from one place only once in a process, also if several commands give it.
        warnings.simplefilter("always", Notice)
        # Inside catch_warnings, which restores both the filter and this function at the end.
        show = warnings.showwarning

        def show_notice(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, Notice):
                show(message, category, *place, **more)
            elif str(message) not in said:
                said.add(str(message))
                # names from a file could hold control characters, which could move the cursor of a terminal
                printable = "".join(letter if letter.isprintable() else " " for letter in str(message))
                say(" ".join(printable.split()))

        warnings.showwarning = show_notice
        yield


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Say no notices in the block, for a first look at data that is read again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        yield


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Hide warnings that another library logs, such as ``absl``: they appear on standard error, and Kerora says more.

    Args:
        name: name of the logger.
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
