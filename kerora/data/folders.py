"""Folders as data sets: saved sets, files named by split, and folders of text files by class."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from kerora.data.files import format_of, is_data_file, stem_of
from kerora.data.row_reader import Found, P, RowReader
from kerora.data.rows import S
from kerora.data.save import find_saved, is_saved
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig

SPLIT_NAMES = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"},
}
SHARD = re.compile(r"-\d+-of-\d+$")
UNLABELLED = ("unsup", "unsupervised")


def find_in_folder(folder: Path, config: DataConfig, reader: RowReader[P, S]) -> Found[P]:
    """Find the parts of a folder.

    The first of these that exists is used:

    1. A data set that `kerora data save` wrote.
    2. Files named by split: ``train.csv``, ``dev.tsv``, ``test-00000-of-00002.parquet``. A reader of text files also
       takes ``train.txt``.
    3. What `reader.folder` finds.

    Hidden files and folders are ignored.

    Raises:
        DataError: the folder has none of them.
    """
    saved = find_saved(folder, reader) if is_saved(folder) else None
    if saved is not None:
        return saved
    files = split_files(folder, reader.endings)
    if files:
        return Found({split: partial(_read_shards, paths, config, reader) for split, paths in files.items()})
    return reader.folder(folder, config)


def split_files(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files that are named by split (``train.csv``, ``dev.txt``), by split in the order of `SPLITS`.

    Args:
        folder: the folder; folders inside it are not searched.
        endings: endings of other files to take, in addition to tables.
    """
    files = [path for path in _entries(folder) if path.is_file() and _split_of(path)]
    files = [path for path in files if is_data_file(path) or format_of(path) in endings]
    return {split: [path for path in files if _split_of(path) == split] for split in _splits(files)}


def class_folders_by_split(folder: Path) -> dict[str, Path]:
    """Return the folders that are named by split and hold one folder of ``.txt`` files for each class."""
    folders = [path for path in _entries(folder) if path.is_dir()]
    return {
        SPLIT_NAMES[path.name.lower()]: path
        for path in folders
        if path.name.lower() in SPLIT_NAMES and class_folders(path)
    }


def class_folders(folder: Path) -> list[Path]:
    """Return the folders that hold ``.txt`` files.

    ``unsup`` is left out: the Large Movie Review Dataset keeps its unlabelled texts there.
    """
    folders = [path for path in _entries(folder) if path.is_dir() and path.name.lower() not in UNLABELLED]
    return [path for path in folders if text_files(path)]


def text_files(folder: Path) -> list[Path]:
    """Return the ``.txt`` files of a folder, sorted."""
    return [path for path in _entries(folder) if path.suffix.lower() == ".txt" and path.is_file()]


def joined(parts: Iterable[P]) -> P:
    """Join the shards of a part, one or more, to one part."""
    parts = iter(parts)
    whole = next(parts)
    for part in parts:
        whole.extend(part)
    return whole


def _read_shards(paths: list[Path], config: DataConfig, reader: RowReader[P, S]) -> P:
    parts = [reader.file(path, path.name, config) for path in paths]
    if len(parts) > 1 and not all(SHARD.search(stem_of(path)) for path in paths):
        raise DataError(f"{' and '.join(map(str, paths))} are the same part of the data. Remove or rename one of them.")
    return joined(parts)


def _splits(files: Iterable[Path]) -> list[str]:
    found = {_split_of(path) for path in files}
    return [split for split in SPLITS if split in found]


def _split_of(path: Path) -> str | None:
    return SPLIT_NAMES.get(SHARD.sub("", stem_of(path)).lower())


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__")))
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}. Check its permissions.") from error
