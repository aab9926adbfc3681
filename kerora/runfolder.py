"""The run folder: the names of its files, atomic writing, and the manifest.

The commands share data only through the run folder. Each command needs only its path.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, Self

from kerora.errors import RunError, reason_of
from kerora.guards.leftovers import beside
from kerora.guards.links import check_links, check_stays
from kerora.guards.locks import is_empty

State = Literal["running", "finished", "stopped", "failed"]
PRIVATE = ("argv", "working_directory", "process", "tracking")
"""Entries of run.json that exports and pickles leave out: they name the machine, its folders and accounts."""


class RunFolder:
    """Paths of one run.

    Args:
        path: the folder of the run. It need not exist yet.

    Attributes:
        command: the command that makes such a folder.
        option: the option of that command for the folder.
        kind: name of the folder in messages.
    """

    command = "fit"
    option = "--run"
    kind = "run"
    manifest_name = "run.json"

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.manifest = self.path / self.manifest_name
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.predictions = self.path / "predictions.csv"
        self.submission = self.path / "submission.csv"
        self.steps = self.path / "steps.csv"
        self.samples = self.path / "samples.json"
        self.adapter = self.path / "adapter"
        self.adapter_weights = self.adapter / "adapter_model.safetensors"
        self.adapter_config = self.adapter / "adapter_config.json"
        self.labels = self.adapter / "labels.json"
        self.checkpoints = self.path / "checkpoints"
        self.report = self.path / "report"
        self.logs = self.path / "logs"
        self.evaluations = self.path / "evaluations"
        self.data = self.path / "data"

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open an existing run.

        Raises:
            RunError: the path does not exist or holds no run.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise RunError(
                f"There is no {cls.kind} folder at {path}. Give the path that `kerora {cls.command}` printed."
            )
        if not run.manifest.is_file():
            raise RunError(
                f"{path} is not a {cls.kind} folder: it holds no {run.manifest.name}. "
                f"Give the path that `kerora {cls.command}` printed."
            )
        return run

    def read_manifest(self) -> dict[str, Any]:
        """Read run.json.

        Raises:
            RunError: the file is missing or damaged.
        """
        return read_json(self.manifest)

    def update_manifest(self, **values: Any) -> None:
        """Merge values into run.json, creating it if needed."""
        # merged, because the start and the end of a run are written at different times
        current = self.read_manifest() if self.manifest.is_file() else {}
        write_json(self.manifest, {**current, **values})


class PretrainFolder(RunFolder):
    """Paths of a pre-training: a KerasHub preset folder, with a record of the training."""

    command = "pretrain"
    option = "--output"
    kind = "pre-training"
    manifest_name = "pretrain.json"

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.card = self.path / "README.md"
        self.card_picture = self.path / "curves.png"

    def check_free(self, force: bool) -> None:
        """Check that the folder can be written to.

        Raises:
            RunError: the folder is not empty, and `force` is False or the content is not a pre-training.
        """
        _check_free(self, force)


def check_has_adapter(run: RunFolder) -> None:
    """Check that a run has an adapter.

    Raises:
        RunError: the run stopped before it wrote one.
    """
    if not run.adapter_weights.is_file():
        manifest = run.read_manifest()
        state, error = manifest.get("state", "unknown"), manifest.get("error")
        if state == "failed" and error:
            raise RunError(f"{run.path} holds no adapter, because its training failed: {error!s:.500}")
        raise RunError(f"{run.path} holds no adapter (state: {state}). Finish it with: kerora fit --resume {run.path}")


def check_has_settings(run: RunFolder) -> None:
    """Check that a run was not killed between its first two files.

    Raises:
        RunError: there is a manifest, and no config.yaml.
    """
    if not run.config.exists() and run.read_manifest().get("state") in ("running", "stopped", "failed"):
        raise RunError(
            f"{run.path} was stopped before {run.config.name} was written. Run the same command again with --force, "
            "or remove the folder."
        )


def create_run(name: str | None, runs_dir: str, default_name: str, force: bool = False) -> RunFolder:
    """Choose and create the folder of a run.

    Args:
        name: a name inside `runs_dir`, or a path if it contains a separator. None or an empty name gives
            ``<default_name>-<n>`` with the first free n.
        runs_dir: folder of the runs.
        default_name: start of the automatic name. Characters that do not fit into a path become ``-``.
        force: whether an existing run may be replaced. The new run replaces its files as it writes them.

    Raises:
        RunError: the run exists and `force` is False, or the folder cannot be created.
    """
    try:
        path = named_run(name, runs_dir)
        if path is None:
            path = _claim_free_name(Path(runs_dir), re.sub(r"[^A-Za-z0-9._-]+", "-", default_name).strip("-."))
        else:
            _claim(path, force)
    except OSError as error:
        raise RunError(
            f"Cannot create the run folder {error.filename}: {error.strerror}. Choose another --run."
        ) from error
    return RunFolder(path)


def named_run(name: str | None, runs_dir: str) -> Path | None:
    """Return the path of a run from its name and the folder of the runs, or None if it has no name."""
    # not name, because `--run ""` would otherwise be the folder of all runs
    if not name:
        return None
    # a name with a separator is a path, so that runs can lie outside of the folder of the runs
    return Path(name) if os.sep in name else Path(runs_dir) / name


def _claim(path: Path, force: bool) -> None:
    _check_free(RunFolder(path), force)
    path.mkdir(parents=True, exist_ok=True)


def _check_free(run: RunFolder, force: bool) -> None:
    if not run.path.is_dir() or is_empty(run.path):
        return
    if not force:
        raise RunError(
            f"The {run.kind} {run.path} exists. Choose another {run.option}, continue it with --resume, or add --force."
        )
    if not run.manifest.is_file():
        raise RunError(
            f"{run.path} is not a {run.kind} folder and is not empty: --force does not replace it. "
            f"Choose another {run.option}."
        )
    check_links(run.path)


def _claim_free_name(parent: Path, stem: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        with contextlib.suppress(FileExistsError):
            path = parent / f"{stem}-{number}"
            # mkdir is atomic: of two runs that start at the same moment, only one gets the number
            path.mkdir()
            return path
        number += 1


@contextlib.contextmanager
def atomic_file(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a temporary file in the folder of `path`. It replaces `path` only if the block ends without an error.

    The data is flushed to the disk before the rename. After a crash or on a full disk there is either the old file or
    the new one. A symbolic link is followed if it does not lead out of a run folder, and the mode of the old file is
    kept.

    Raises:
        RunError: the folder is not writable, the disk is full, or `path` is not a regular file. Or a link leads out of
            the run folder in which `path` is.
    """
    check_stays(path)
    # os.replace on a symbolic link would replace the link and not the file
    target = Path(os.path.realpath(path))
    temporary = beside(target)
    try:
        if target.exists() and not target.is_file():
            raise RunError(f"Cannot write {path}: it is not a regular file. Choose another name.")
        target.parent.mkdir(parents=True, exist_ok=True)
        # newline="": line ends inside quoted cells of a CSV must stay as they are
        text = {"encoding": "utf-8", "newline": ""} if mode == "w" else {}
        with open(temporary, mode.replace("w", "x"), **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            # without fsync, a crash may keep the rename and lose the content
            os.fsync(stream.fileno())
        if target.exists():
            shutil.copymode(target, temporary)  # a new file has the default mode of the process
        os.replace(temporary, target)
    except OSError as error:
        blocked = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a part of its path is a file" if blocked else reason_of(error)
        raise RunError(f"Cannot write {path}: {reason}. Free space or choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8, newlines as given)."""
    with atomic_file(path) as stream:
        stream.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with atomic_file(path, "wb") as stream:
        stream.write(content)


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """Write JSON atomically, indented, with keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: the file is missing, is not JSON, or is not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}. Check that the run is complete.") from error
    except (ValueError, RecursionError) as error:  # deeply nested JSON exceeds the recursion limit
        raise RunError(f"{path} is damaged: {error}. Restore the file or train again.") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: expected an object. Received: {type(value).__name__}")
    return value
