"""The errors that Kerora raises on purpose.

Every message is one line: what is wrong, with which value, where, and what to do. The command line prints the line of a
`KeroraError` to stderr and exits with code 2. Any other exception is a bug, and the exit code is 1.

Messages are written with the options of the command line. A script gets them with the names of arguments.
"""

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar

Words = Callable[[str], str]
_FOR_SCRIPTS: list[Words] = []
AS_WRITTEN = "--as-written"
"""The option that tells a process of ours that the command line started it; see `as_written`."""
_AS_WRITTEN: ContextVar[bool] = ContextVar("as_written", default=False)


def speak_to_scripts(words: Words) -> None:
    """Set the function that puts the names of arguments into a message. The package sets it when it is imported."""
    _FOR_SCRIPTS[:] = [words]


@contextlib.contextmanager
def as_written(on: bool = True) -> Iterator[None]:
    """Keep the options of the command line in the messages of the block."""
    token = _AS_WRITTEN.set(on)
    try:
        yield
    finally:
        _AS_WRITTEN.reset(token)


def is_as_written() -> bool:
    """Tell whether messages keep the options of the command line."""
    return _AS_WRITTEN.get()


def spoken(text: str) -> str:
    """Return a message as the caller reads it: with options for the command line, with arguments for a script."""
    return text if _AS_WRITTEN.get() or not _FOR_SCRIPTS else _FOR_SCRIPTS[0](text)


class KeroraError(Exception):
    """The input of the user cannot be used. The message says what to change."""

    exit_code = 2

    def __str__(self) -> str:
        return spoken(super().__str__())


class ConfigError(KeroraError):
    """A setting is unknown, of the wrong type, or out of range."""


class DataError(KeroraError):
    """A data file or data set cannot be read, or its rows cannot be used."""


class PresetError(KeroraError):
    """A pre-trained model was not found or cannot be loaded."""


class AdapterError(KeroraError):
    """Adapter files are damaged, or belong to another base model, rank or label set."""


class RunError(KeroraError):
    """A run folder is missing, incomplete, in use, or not writable."""


class TrainingError(KeroraError):
    """Training cannot continue, for example because the loss is not a number."""


class NotFiniteError(TrainingError):
    """Loss, gradient, weights or outputs of a model are infinite or not a number."""


class Interrupted(KeroraError):
    """A signal stopped the work after its state was saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number  # as shells report a program that a signal ended


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return ` Did you mean 'a' or 'b'?` for the known names closest to `name`, or ``""``."""
    matches = difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


def quoted(names: Sequence[str], most: int = 10) -> str:
    """Return names for a message: ``'text', 'label'``. After `most` of them, their number follows."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name:.40}'" for name in names[:most]) + more


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return class names for a message: ``bad, good``. After `most` of them, the number of all follows."""
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(f"{name:.40}" for name in names[:most]) + more


def reason_of(error: OSError) -> str:
    """Return the reason of the operating system why a file could not be written or read.

    HDF5 and `shutil.copytree` raise errors whose text contains the reason or its number.
    """
    # strerror and not the text of the error, which repeats the path
    if error.errno:
        return os.strerror(error.errno)
    # Python writes "[Errno 28]", HDF5 "errno = 28"
    number = re.search(r"\bErrno (\d+)|\berrno = (\d+)", str(error))
    return os.strerror(int(number.group(1) or number.group(2))) if number else error.strerror or str(error)
