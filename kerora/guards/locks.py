"""One lock for each folder that a command fills, so that two processes never write into one run."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import psutil

from kerora.errors import RunError, reason_of
from kerora.guards.leftovers import is_leftover

LOCK = ".lock"
"""Name of the lock file in a folder. It is there only while a process works in the folder, or after it was killed."""


def this_process() -> dict[str, Any]:
    """Return host, process id and start time of this process."""
    # the start time too, because the system gives the ids of dead processes to new ones
    return {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


@contextlib.contextmanager
def claimed(folder: Path, kind: str = "run", option: str = "--run", wait: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a folder during the block. A folder that stays empty is removed at the end.

    The system releases the lock if the process dies. What the lock file says is only for the message.

    Args:
        folder: the folder. It is created if it does not exist.
        kind: what the folder is, for messages.
        option: the option that names it, for messages.
        wait: seconds to wait for another process.

    Raises:
        RunError: another process works in the folder, or the folder cannot be written.
    """
    path = folder / LOCK
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    lock = filelock.FileLock(path, timeout=wait)
    try:
        _acquire(lock, folder)
    except filelock.Timeout as error:
        raise RunError(f"{folder} is in use by {_holder(path)}. Wait for it or stop it first.") from error
    except OSError as error:
        lock.release()
        _remove_empty(made)
        raise RunError(
            f"Cannot create the {kind} folder {error.filename or folder}: {reason_of(error)}. Choose another {option}."
        ) from error
    # on a full disk the lock holds too, and the first file of the command says what is wrong
    with contextlib.suppress(OSError):
        path.write_text(json.dumps(this_process()), encoding="utf-8")
    try:
        yield
    finally:
        # while the lock is held: whoever opened the file before finds that it has no name any more
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
        _remove_empty(made)


def _acquire(lock: filelock.FileLock, folder: Path) -> None:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # the process that held the lock may remove the empty folder in this moment
        with contextlib.suppress(FileNotFoundError):
            lock.acquire()
            return


def is_empty(folder: Path) -> bool:
    """Tell whether a folder holds nothing but what a killed process left: its lock and half a file."""
    return all(path.name == LOCK or is_leftover(path.name) for path in folder.iterdir())


def _remove_empty(folders: list[Path]) -> None:
    # from the inside: the folder first, then its new parents
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _holder(path: Path) -> str:
    try:
        process = json.loads(path.read_text(encoding="utf-8"))
        since = datetime.fromtimestamp(float(process["started"]), UTC).isoformat(timespec="seconds")
        return f"process {int(process['pid'])} on {str(process['host'])!r:.80}, started {since}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        # it has taken the lock and not written yet
        return "another process"
