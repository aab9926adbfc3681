"""Writes and reads the folder of `kerora data save`, for all tasks."""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kerora.data.row_reader import Found, P, RowReader
from kerora.data.rows import Dataset, S, Split
from kerora.errors import DataError, RunError
from kerora.guards.leftovers import beside
from kerora.guards.locks import claimed, is_empty
from kerora.notices import notice
from kerora.runfolder import atomic_file, read_json, write_json
from kerora.settings.fit import SPLITS

DESCRIPTION = "dataset.json"
FORMAT = "kerora-dataset"
VERSION = 1
UNFINISHED = f".{DESCRIPTION}"
"""The new description while the files are moved. A folder with it was left by a killed process."""


def save_dataset(dataset: Dataset[S], directory: Path, force: bool = False) -> None:
    """Write a data set as one JSONL file for each split, and a description.

    The files ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` hold one row in each line. A labelled row has the
    keys ``id``, ``text``, ``label`` (the class name), and for sentence pairs ``pair``. A row for a language model has
    ``id`` and ``text``, ``prompt`` and ``completion``, or ``messages``. ``dataset.json`` holds the name, the classes in
    order or the form of the texts, the counts of rows and labels, and the sha256 of the rows of each split.
    The files are first written to a temporary folder and moved when all are complete.

    Args:
        dataset: the rows.
        directory: the folder. It is created if it does not exist.
        force: replace a data set that was saved there.

    Raises:
        DataError: the folder is not empty and `force` is False, or the folder holds something else.
        RunError: the folder is not writable or the disk is full.
    """
    if directory.exists() and not directory.is_dir():
        raise DataError(f"{directory} is a file. Choose a folder to save to.")
    with claimed(directory, "data", "folder"):
        _check_target(directory, force)
        work = beside(directory)
        try:
            work.mkdir()
            for split, rows in _saved_splits(dataset).items():
                _write_rows(work / f"{split}.jsonl", rows, dataset.classes)
            write_json(work / UNFINISHED, _description(dataset))
            _move_into(work, directory)
        except OSError as error:
            raise RunError(
                f"Cannot write {directory}: {error.strerror}. Free space or choose another folder."
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)


def is_saved(directory: Path) -> bool:
    """Tell whether a folder was written by `save_dataset`.

    Raises:
        DataError: the process was killed while it moved the files.
    """
    if (directory / UNFINISHED).is_file():
        raise DataError(f"{directory} holds an unfinished `kerora data save`. Run the same command again with --force.")
    return (directory / DESCRIPTION).is_file()


def find_saved(directory: Path, reader: RowReader[P, S]) -> Found[P] | None:
    """Find the parts of a folder that `save_dataset` wrote. Return None if the reader has no own form of saved rows.

    Raises:
        DataError: the description is damaged, or the reader cannot use the data.
    """
    description = _read_description(directory)
    read = reader.saved(directory, description)
    if read is None:
        return None
    splits = [split for split in SPLITS if split in description["splits"]]
    paths = {split: directory / f"{split}.jsonl" for split in splits}
    return Found({split: partial(read, path, split) for split, path in paths.items()})


def saved_name(directory: Path) -> str:
    """Return the name under which a data set was saved.

    Raises:
        DataError: the description is damaged.
    """
    return str(_read_description(directory)["name"])


def _read_description(directory: Path) -> dict[str, Any]:
    try:
        description = read_json(directory / DESCRIPTION)
    except RunError as error:
        raise DataError(str(error).replace("train again", "save the data set again")) from error
    # Another program can have a dataset.json too.
    if description.get("format") != FORMAT or description.get("version") != VERSION:
        raise DataError(
            f"{directory / DESCRIPTION} describes no data set of version {VERSION}. Delete it to read the other files."
        )
    missing = [key for key in ("name", "classes", "splits") if key not in description]
    if missing:
        raise DataError(f"{directory / DESCRIPTION} has no '{missing[0]}'. Save the data set again.")
    return description


def check_same(path: Path, rows: Split, saved: Mapping[str, Any]) -> None:
    """Check that the rows of a file are the rows that were saved.

    Args:
        path: the file, for the message.
        rows: the rows in the file.
        saved: ``sha256`` and ``rows`` (their count) of the saved rows.

    Raises:
        DataError: the rows differ.
    """
    if rows.fingerprint() != saved["sha256"]:
        raise DataError(
            f"{path} differs from what was saved ({saved['rows']} rows then, {len(rows)} now). Save it again, "
            f"or delete {DESCRIPTION} to read the files as they are."
        )


def _check_target(directory: Path, force: bool) -> None:
    # --force replaces only what this command wrote. It never empties another folder of the user.
    own = (directory / DESCRIPTION).is_file() or (directory / UNFINISHED).is_file()
    if not is_empty(directory) and not (force and own):
        remedy = "Choose another folder, or replace the data set in it with --force."
        if force:
            remedy = f"--force replaces only a saved data set, but there is no {DESCRIPTION}. Choose another folder."
        raise DataError(f"The folder {directory} is not empty. {remedy}")


def _write_rows(path: Path, rows: Split, classes: tuple[str, ...]) -> None:
    with atomic_file(path) as stream:
        for row in rows.objects(classes):
            # ensure_ascii=False: texts in other alphabets stay readable and take less space.
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _description(dataset: Dataset[S]) -> dict[str, Any]:
    head: dict[str, Any] = {"format": FORMAT, "version": VERSION, "name": dataset.name}
    head |= dataset["train"].facts(dataset.splits)
    # with renamed classes the rows hold the new names, so the original labels stand here
    renamed = {"values": list(dataset.values)} if dataset.values != dataset.classes else {}
    splits = dataclasses.replace(dataset, splits=_saved_splits(dataset)).fingerprints()
    return {**head, "classes": list(dataset.classes), **renamed, "splits": splits}


def _saved_splits(dataset: Dataset[S]) -> dict[str, S]:
    """Return the splits as they are saved. Test rows without labels are the test part if there is no other one."""
    if dataset.unlabelled is None:
        return dataset.splits
    # A labelled test part was cut from the training rows, and a data set has only one test part.
    if "test" in dataset.splits:
        notice(f"The {len(dataset.unlabelled):,} rows without labels are not saved, because a test part was cut.")
        return dataset.splits
    return {**dataset.splits, "test": dataset.unlabelled}


def _move_into(work: Path, directory: Path) -> None:
    """Move the complete files. The description gets its name last, so a mix of old and new files is never read."""
    os.replace(work / UNFINISHED, directory / UNFINISHED)
    written = [path.name for path in work.iterdir()]
    for split in SPLITS:
        if f"{split}.jsonl" not in written:
            # A split that only the earlier data set had must not stay beside the new ones.
            (directory / f"{split}.jsonl").unlink(missing_ok=True)
    for name in written:
        os.replace(work / name, directory / name)
    os.replace(directory / UNFINISHED, directory / DESCRIPTION)
