"""Folders as data sets: saved sets, split files, and folders of text files by class."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from kerora.data.extract import LabelledRows, Record, check_problems, read_labelled, text_problem, unread_part
from kerora.data.files import FORMATS_IN_WORDS, format_of, is_data_file, open_table, stem_of
from kerora.data.lines import open_lines
from kerora.data.rows import Rows
from kerora.data.save import is_saved, read_saved
from kerora.data.text_store import TextStore
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig

SPLIT_NAMES = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"},
}
SHARD = re.compile(r"-\d+-of-\d+$")
UNLABELLED = ("unsup", "unsupervised")


def read_folder(folder: Path, config: DataConfig, without: Collection[str] = ()) -> dict[str, LabelledRows]:
    """Read a folder as a data set, by split.

    Tried in this order: what `kerora data save` wrote; files named by split (``train.csv``, ``dev.tsv``,
    ``test-00000-of-00002.parquet``); folders named by split with a folder of ``.txt`` files a class
    (``train/pos/1.txt``); folders of ``.txt`` files by class, which are the training part. Hidden
    folders and ``unsup`` (unlabelled reviews of the Large Movie Review Dataset) are left out.

    Args:
        folder: the folder.
        config: columns and formats.
        without: parts whose files are not opened; where they are there, they come back without rows.

    Raises:
        DataError: nothing of this is there, or a file cannot be used.
    """
    if is_saved(folder):
        return read_saved(folder, without)
    files = split_files(folder, (".txt",))
    if files:
        return {
            split: unread_part(folder) if split in without else _read_shards(paths, config)
            for split, paths in files.items()
        }
    folders = [path for path in _entries(folder) if path.is_dir()]
    named = [path for path in folders if path.name.lower() in SPLIT_NAMES and _class_folders(path)]
    if named:
        parts = {SPLIT_NAMES[path.name.lower()]: path for path in named}
        return {
            split: unread_part(path) if split in without else read_class_folders(path, config)
            for split, path in parts.items()
        }
    if _class_folders(folder):
        return {"train": read_class_folders(folder, config)}
    raise DataError(
        f"The folder {folder} holds no data set. It needs train and test files ({FORMATS_IN_WORDS}), or a folder of "
        ".txt files for each class, such as train/pos/1.txt."
    )


def split_files(folder: Path, leave_out: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Return the files that are named by split (``train.csv``, ``dev.txt``), by split in their usual order.

    Args:
        folder: where to look; folders inside are not looked into.
        leave_out: endings to pass over.
    """
    files = [path for path in _entries(folder) if path.is_file() and _split_of(path)]
    files = [path for path in files if (is_data_file(path) or format_of(path) == ".txt")]
    files = [path for path in files if format_of(path) not in leave_out]
    return {split: [path for path in files if _split_of(path) == split] for split in _splits(files)}


def is_unsplit(folder: Path) -> bool:
    """Tell whether a folder holds the class folders of one part, without a level of splits."""
    split_level = any(_split_of(path) for path in _entries(folder) if path.is_dir() or is_data_file(path))
    return not is_saved(folder) and not split_level and bool(_class_folders(folder))


def read_class_folders(folder: Path, config: DataConfig) -> LabelledRows:
    """Read ``CLASS/*.txt``: one text a file, the folder's name is the label, ``CLASS/FILE`` the id.

    Raises:
        DataError: a text is empty or not UTF-8.
    """
    result = LabelledRows(str(folder), Rows(TextStore(), TextStore()))
    problems: list[str] = []
    files = [path for class_folder in _class_folders(folder) for path in _text_files(class_folder)]
    for number, path in enumerate(files, 1):
        with open_lines(path) as lines:
            text = "".join(lines).strip()
        identifier = f"{path.parent.name}/{path.name}"
        if text_problem(text, path.name):
            result.skipped += 1
            problems.append(f"{identifier} is empty")
        else:
            result.append(Record(identifier, text, None, number), path.parent.name, identifier)
    check_problems(str(folder), problems[:5], result.skipped, len(result.rows), config)
    return result


def _read_shards(paths: list[Path], config: DataConfig) -> LabelledRows:
    parts = []
    for path in paths:
        with open_table(path, config) as table:
            parts.append(read_labelled(table, config))
    if len(parts) == 1:
        return parts[0]
    if not all(SHARD.search(stem_of(path)) for path in paths):
        raise DataError(f"{' and '.join(map(str, paths))} are the same part of the data. Remove or rename one of them.")
    return _joined(parts)


def _joined(parts: list[LabelledRows]) -> LabelledRows:
    whole = parts[0]
    for part in parts[1:]:
        whole.rows.texts.extend(part.rows.texts)
        whole.rows.ids.extend(part.rows.ids)
        if whole.rows.pairs is not None and part.rows.pairs is not None:
            whole.rows.pairs.extend(part.rows.pairs)
        whole.names += part.names
        whole.skipped += part.skipped
        for label, place in part.first_seen.items():
            whole.first_seen.setdefault(label, f"{Path(part.source).name} {place}")
    return whole


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


def _class_folders(folder: Path) -> list[Path]:
    folders = [path for path in _entries(folder) if path.is_dir() and path.name.lower() not in UNLABELLED]
    return [path for path in folders if _text_files(path)]


def _text_files(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.suffix.lower() == ".txt" and path.is_file()]
