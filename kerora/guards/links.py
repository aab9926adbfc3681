"""Keeps what Kerora writes inside its own folders: a run or a study may come from another person."""

import os
from pathlib import Path

from kerora.errors import RunError

MARKS = ("run.json", "pretrain.json", "experiment_log.csv")
"""Files that show what a folder is: a run, a pre-training, a study."""


def check_stays(path: Path) -> None:
    """Check that no link leads a path in a run or a study out of that folder.

    Other paths may be links: the user named them.

    Raises:
        RunError: writing to the path would write outside of the folder.
    """
    # abspath and not resolve: the folder that the path names, before any link
    named, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))
    # every folder above and not only the nearest one: a link may lead into another run
    for folder in named.parents:
        if any((folder / mark).is_file() for mark in MARKS) and not real.is_relative_to(os.path.realpath(folder)):
            raise _leaves(named, real, folder)


def check_links(folder: Path) -> None:
    """Check that no link in a folder leads out of it, before other libraries write there.

    Raises:
        RunError: a link leads out of the folder.
    """
    home = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            # wandb links its debug log to its own folder, and makes new folders at each start
            if name == "debug-core.log" and Path(parent).is_relative_to(folder / "logs" / "wandb"):
                continue
            if path.is_symlink() and not Path(real := os.path.realpath(path)).is_relative_to(home):
                raise _leaves(path, Path(real), folder)


def _leaves(path: Path, real: Path, folder: Path) -> RunError:
    return RunError(
        f"{path} is or follows a link to {real}, outside of {folder}. It is not written. "
        "Remove the link, or replace it with a copy of what it names."
    )
