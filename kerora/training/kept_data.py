"""The rows that a run or a study keeps in its own folder: those that a script gave in memory."""

import dataclasses
import filecmp
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from kerora.errors import RunError, reason_of
from kerora.places import expanded
from kerora.runfolder import RunFolder, write_json
from kerora.settings.fit import DataConfig
from kerora.settings.resolve import FILES, HERE

_NAMES = tuple(key.removeprefix("data.") for key in FILES)


def keep(folder: Path, data: DataConfig, files: Collection[Path]) -> DataConfig:
    """Move files of rows into a folder, and return the settings with their new paths.

    Args:
        folder: the folder, such as RUN/data.
        data: the settings.
        files: the files to move, among those of `data`.

    Raises:
        RunError: a file cannot be moved.
    """
    moved: dict[str, Any] = {}
    for name in _NAMES:
        path = getattr(data, name)
        if path is not None and Path(path) in files:
            moved[name] = str(_move(Path(path), folder))
    return dataclasses.replace(data, **moved)


def _move(path: Path, folder: Path) -> Path:
    target, number = folder / path.name, 1
    # With --force, an earlier file can be the source of another part. A study that continues has the same rows already.
    while target.exists():
        if filecmp.cmp(path, target, shallow=False):
            return target
        number += 1
        target = folder / f"{path.stem}-{number}{path.suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    except OSError as error:
        raise RunError(f"Cannot write {target}: {reason_of(error)}. Free space or choose another folder.") from error
    return target


def relative(folder: Path, data: DataConfig) -> DataConfig:
    """Return settings in which paths inside the rows of a run or a study are relative to it, so that it can move."""
    found: dict[str, Any] = {}
    for name in _NAMES:
        path = getattr(data, name)
        if _is_inside(path, folder / "data"):
            found[name] = HERE + expanded(path).resolve().relative_to(folder.resolve()).as_posix()
    return dataclasses.replace(data, **found)


def clear_run(run: RunFolder, data: DataConfig) -> None:
    """Remove the files of a run that is replaced, and nothing else. Rows that the new run reads stay.

    Raises:
        RunError: the folder cannot be written.
    """
    # Never without a manifest: --force does not replace a folder that is no run.
    write_json(run.manifest, {"state": "running"})
    for path in (run.history, run.steps, run.metrics, run.samples, run.predictions, run.submission):
        path.unlink(missing_ok=True)
    for folder in (run.adapter, run.checkpoints, run.report, run.evaluations, run.logs):
        shutil.rmtree(folder, ignore_errors=True)
    if not any(_is_inside(getattr(data, name), run.data) for name in _NAMES):
        shutil.rmtree(run.data, ignore_errors=True)


def _is_inside(path: str | None, folder: Path) -> bool:
    if path is None or not expanded(path).exists():
        return False
    return expanded(path).resolve().is_relative_to(folder.resolve())
