"""Folders of the user: the home directory, and paths that start with it."""

import functools
import os
import tempfile
from pathlib import Path

from kerora.errors import RunError


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` replaced by the home directory.

    ``~name`` of an unknown user stays as it is: the error about a missing file then shows it.
    """
    return Path(os.path.expanduser(path))


def listed_files(spec: str) -> list[str]:
    """Return the files in a value of ``--train``, ``--validation`` or ``--test``: separated by commas, or one.

    A file whose own name holds a comma is one file.
    """
    if "," not in spec or expanded(spec).exists():
        return [spec]
    return [part.strip() for part in spec.split(",")]


def check_output(path: Path | None, force: bool) -> None:
    """Check that an output file may be written. None stands for a stream.

    Raises:
        RunError: it exists, and `force` is False.
    """
    if path is not None and path.exists() and not force:
        raise RunError(f"{path} exists. Choose another --output or add --force.")


# Once for each process: a second call finds HOME set, and would return None.
@functools.cache
def settle_home() -> Path | None:
    """Give the process a home directory if it has none: HOME is not set, and the user has no entry in passwd.

    Without it, some libraries fail, and others write into a folder with the name ``~``.

    Returns:
        The temporary folder that is now the home directory, or None if there was one before.
    """
    # expanduser leaves "~" as it is if neither HOME nor passwd has an entry.
    if os.path.expanduser("~") != "~":
        return None
    folder = _own_folder(Path(tempfile.gettempdir(), f"kerora-home-{os.getuid()}"))
    os.environ["HOME"] = str(folder)
    return folder


def _own_folder(folder: Path) -> Path:
    """Return a folder that only this user can write: `folder`, or a new one if another user has made that."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # lstat and not stat: a link of another user must not count as the folder it points to.
        facts = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    # 0o22: others must not write, because the caches are trusted
    is_own = folder.is_dir() and not folder.is_symlink() and facts.st_uid == os.getuid() and not facts.st_mode & 0o22
    return folder if is_own else Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
