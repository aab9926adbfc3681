"""Folders that `save_to_disk` of Hugging Face `datasets` wrote: Arrow files, and their list in state.json."""

import json
from pathlib import Path
from typing import Any

from kerora.data.split_names import in_order, split_of
from kerora.errors import DataError
from kerora.notices import notice

STATE, PARTS = "state.json", "dataset_dict.json"


def is_saved_to_disk(folder: Path) -> bool:
    """Tell whether `save_to_disk` wrote a folder: a data set with parts, or one without."""
    return (folder / PARTS).is_file() or ((folder / STATE).is_file() and (folder / "dataset_info.json").is_file())


def arrow_files(folder: Path) -> dict[str, list[Path]]:
    """Return the Arrow files of each part in order. A data set without parts is ``train``.

    Parts that are no split, such as ``unsupervised``, are left out, and this is noted.

    Raises:
        DataError: a description is damaged or lists no files, the rows were selected by an index that is not applied to
            the files, or no part is a split.
    """
    if not (folder / PARTS).is_file():
        return {"train": _files(folder)}
    names = [str(name) for name in _read(folder / PARTS).get("splits", [])]
    by_split = {split: name for name in names if (split := split_of(name))}
    others = [name for name in names if name not in by_split.values()]
    # A data set can have only parts such as "en" and "de". None of them is a default.
    if not by_split:
        raise DataError(
            f"{folder} has no train, validation or test part, only {', '.join(names)}. Give one of its folders."
        )
    if others:
        notice(f"{folder}: the parts {', '.join(others)} are left out.")
    return {split: _files(folder / by_split[split]) for split in in_order(by_split)}


def _files(folder: Path) -> list[Path]:
    state = _read(folder / STATE)
    # The Arrow files of a selection hold all rows. Without the index, the wrong rows would be read.
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DataError(
            f"{folder} holds a selection of rows. Write them with flatten_indices() and save_to_disk again."
        )
    try:
        # Only the last part of the name: a path in a downloaded state.json must not lead out of the folder.
        files = [folder / Path(entry["filename"]).name for entry in state["_data_files"]]
    except (KeyError, TypeError):
        files = []
    if not files:
        raise DataError(f"{folder / STATE} lists no data files. Save the data set again.")
    return files


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}). Save the data set again.") from error
    return value if isinstance(value, dict) else {}
