"""Names of temporary files and folders beside a target, and their removal after a process was killed."""

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from functools import cache
from pathlib import Path

import psutil

OLD_SECONDS = 24 * 3600
"""Age from which a leftover of another machine is removed too: its processes cannot be asked."""


def beside(target: Path) -> Path:
    """Return a new hidden name in the folder of a target. It says which process uses it.

    In the same folder, because a rename is atomic only inside a file system. Leftovers of dead processes with such a
    name are removed first.
    """
    _sweep(target)
    return target.with_name(f".{target.name}.{_own_mark()}.{secrets.token_hex(4)}.tmp")


@cache
def _own_mark() -> str:
    return f"{_host()}-{os.getpid()}-{int(psutil.Process().create_time())}"


# a child of a fork is another process
os.register_at_fork(after_in_child=lambda: _own_mark.cache_clear())


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def is_leftover(name: str) -> bool:
    """Tell whether a file or a folder has a name of `beside`."""
    return re.fullmatch(r"\..+\.[0-9a-f]{6}-\d+-\d+\.[0-9a-f]{8}\.tmp", name) is not None


# once for each target: a training writes the same small files again and again
@cache
def _sweep(target: Path) -> None:
    name = re.compile(rf"\.{re.escape(target.name)}\.(?:([0-9a-f]{{6}})-(\d+)-(\d+)\.)?[0-9a-f]{{8}}\.tmp")
    with contextlib.suppress(OSError):
        for path in target.parent.iterdir():
            found = name.fullmatch(path.name)
            if found and _is_dead(path, *found.groups()):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_dead(path: Path, host: str | None, pid: str | None, started: str | None) -> bool:
    if host != _host() or pid is None or started is None:
        return time.time() - path.lstat().st_mtime > OLD_SECONDS
    try:
        # 2 seconds: the start time is computed from the boot time, which the system may correct
        return abs(psutil.Process(int(pid)).create_time() - int(started)) > 2
    except psutil.NoSuchProcess:
        return True
