"""Folders as data sets: saved sets, files named by split, and folders of text files by class."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from kerora.data.files import format_of, is_data_file, stem_of
from kerora.data.hub_card import card_files, choose_config
from kerora.data.hub_folders import arrow_files, is_saved_to_disk
from kerora.data.row_reader import Found, P, RowReader
from kerora.data.rows import S
from kerora.data.save import find_saved, is_saved
from kerora.data.split_names import SHARD, SPLIT_NAMES, in_order, split_inside, split_of
from kerora.errors import DataError
from kerora.notices import notice
from kerora.settings.fit import DataConfig

UNLABELLED = ("unsup", "unsupervised")


def find_in_folder(folder: Path, config: DataConfig, reader: RowReader[P, S]) -> Found[P]:
    """Find the parts of a folder.

    The first of these that exists is used:

    1. A data set that `kerora data save` wrote, or `save_to_disk` of Hugging Face `datasets`.
    2. The files that the card (README.md) of a data set of the Hugging Face hub names for each part.
    3. Files named by split: ``train.csv``, ``dev.tsv``, ``test-00000-of-00002.parquet``. A reader of text files also
       takes ``train.txt``. Then folders named by split with tables in them.
    4. The same in a folder inside it, such as ``data`` in a copy of a data set of the Hugging Face hub.
    5. Files with a split in their name: ``imdb_train.csv``.
    6. What `reader.folder` finds.

    Hidden files and folders are ignored.

    Raises:
        DataError: the folder has none of them, or several data sets.
    """
    if is_saved(folder):
        saved = find_saved(folder, reader)
        if saved is not None:
            return saved
        # The files are read as tables. The settings for the files of a user do not hold for them.
        config = dataclasses.replace(config, encoding="utf-8", columns=())  # as `kerora data save` writes its files
    if is_saved_to_disk(folder):
        parts = arrow_files(folder)
        found = {split: partial(_read_shards, paths, config, reader) for split, paths in parts.items()}
        return Found(found, whole=len(found) == 1)
    described = choose_config(folder, config.config_name)
    if described is not None and described.patterns:
        listed = card_files(folder, described)
        return Found({split: partial(_read_listed, paths, config, reader) for split, paths in listed.items()})
    if described is not None and described.folder:
        folder = folder / described.folder
    # Exact names first: "imdb_train.csv" beside "train.csv" is another data set.
    files = _parts_below(folder, reader.endings) or _loosely_named(folder, reader.endings)
    if files:
        return Found({split: partial(_read_shards, paths, config, reader) for split, paths in files.items()})
    return reader.folder(folder, config)


def split_files(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files that are named by split (``train.csv``, ``dev.txt``), by split in the order of `SPLITS`.

    Args:
        folder: the folder; folders inside it are not searched.
        endings: endings of other files to take, in addition to tables.
    """
    files = [path for path in _tables(folder, endings) if split_of(stem_of(path))]
    found = {path: split_of(stem_of(path)) for path in files}
    return {split: [path for path in files if found[path] == split] for split in in_order(filter(None, found.values()))}


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


def _parts_below(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of each part: those of the folder itself, or of the only folder inside that has some."""
    # The folder's own files win over folders inside it, which may be copies in another format.
    if own := _parts(folder, endings):
        return own
    # only tables: a reader of texts takes the text files of all folders inside
    inside = {path: parts for path in _entries(folder) if path.is_dir() and (parts := _parts(path, ()))}
    if len(inside) > 1:
        listed = ", ".join(str(path) for path in inside)
        raise DataError(f"The folder {folder} holds several data sets: {listed}. Give one of these folders.")
    for path in inside:
        notice(f"The data set of {folder} is in its folder {path.name}.")
    return next(iter(inside.values()), {})


def _parts(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    if files := split_files(folder, endings):
        return files
    folders = [path for path in _entries(folder) if path.is_dir() and path.name.lower() in SPLIT_NAMES]
    tables = {SPLIT_NAMES[path.name.lower()]: _tables(path, ()) for path in folders}
    return {split: tables[split] for split in in_order(split for split, files in tables.items() if files)}


def _loosely_named(folder: Path, endings: Sequence[str]) -> dict[str, list[Path]]:
    """Return files such as ``imdb_train.csv`` and ``imdb_test.csv`` by split.

    Raises:
        DataError: their other words differ, so that they are files of several data sets.
    """
    # Tables before text files: a word such as "test" is common in the names of texts.
    named = {path: found for path in _tables(folder, ()) if (found := split_inside(stem_of(path)))}
    if not named:
        texts = {path: split_inside(stem_of(path)) for path in _tables(folder, endings)}
        # any text can have such a word in its title
        named = {path: found for path, found in texts.items() if found} if all(texts.values()) else {}
    # Without a training part the words are probably not meant as splits.
    if "train" not in {split for split, _ in named.values()}:
        return {}
    # What is left of the names must be equal: imdb_train and yelp_test are not one data set.
    rests = sorted({rest for _, rest in named.values()})
    if len(rests) > 1:
        raise DataError(
            f"The folder {folder} holds files of several data sets: {', '.join(path.name for path in named)}. Name the "
            "files with --train, --validation and --test."
        )
    splits = in_order(split for split, _ in named.values())
    return {split: [path for path, (other, _) in named.items() if other == split] for split in splits}


def _tables(folder: Path, endings: Sequence[str]) -> list[Path]:
    files = [path for path in _entries(folder) if path.is_file()]
    return [path for path in files if is_data_file(path) or format_of(path) in endings]


def _read_shards(paths: list[Path], config: DataConfig, reader: RowReader[P, S]) -> P:
    # files of one format in a folder of their own are shards, whatever their names are
    in_own_folder = not any(split_of(stem_of(path)) or split_inside(stem_of(path)) for path in paths)
    are_shards = all(SHARD.search(stem_of(path)) for path in paths) or in_own_folder
    # train.csv beside train.jsonl is probably the same rows twice.
    if len(paths) > 1 and not (are_shards and len({format_of(path) for path in paths}) == 1):
        raise DataError(f"{' and '.join(map(str, paths))} are the same part of the data. Remove or rename one of them.")
    return joined(reader.file(path, path.name, config) for path in paths)


def _read_listed(paths: list[Path], config: DataConfig, reader: RowReader[P, S]) -> P:
    strange = [path.name for path in paths if not is_data_file(path) and format_of(path) not in reader.endings]
    if strange:
        raise DataError(f"{paths[0].parent} holds {strange[0]}, which is no table. Give a data set of tables or texts.")
    return joined(reader.file(path, path.name, config) for path in paths)


def _entries(folder: Path) -> list[Path]:
    try:
        # "__" leaves out __MACOSX, which macOS adds to zip archives, and __pycache__.
        return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__")))
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}. Check its permissions.") from error
