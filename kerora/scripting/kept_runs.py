"""Run folders that belong to an object of Python: temporary, or as bytes inside a pickle."""

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from kerora.runfolder import PRIVATE, RunFolder, write_bytes


class OwnFolder:
    """A temporary folder that is removed with the object.

    Attributes:
        path: the folder.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="kerora-"))
        # also at the end of the process
        weakref.finalize(self, shutil.rmtree, self.path, True)


def files_of(path: Path) -> dict[str, bytes]:
    """Return the files of a run that a model needs, by their paths in the folder.

    They hold no texts, and neither the machine nor the process of the training.

    Raises:
        RunError: the folder does not exist any more.
    """
    run = RunFolder.open(path)
    small = [run.config, run.history, run.metrics]
    found = [*(file for file in small if file.is_file()), *sorted(run.adapter.iterdir())]
    manifest = {key: value for key, value in run.read_manifest().items() if key not in PRIVATE}
    files = {file.relative_to(path).as_posix(): file.read_bytes() for file in found}
    return {run.manifest_name: json.dumps(manifest).encode(), **files}


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a run into a folder.

    Raises:
        RunError: a file cannot be written.
        ValueError: a path leads out of the folder.
    """
    for name, content in files.items():
        target = folder / name
        # a pickle can come from anyone
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"The path {name!r} leads out of the run folder.")
        write_bytes(target, content)
