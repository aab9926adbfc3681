"""The configurations that the README.md of a data set on the Hugging Face hub describes: which files are which part.

---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kerora.data.split_names import in_order, split_of
from kerora.errors import DataError, nearest
from kerora.notices import notice

CARD = "README.md"


@dataclass(frozen=True)
class CardConfig:
    """One configuration.

    Attributes:
        name: its name.
        patterns: patterns of file names by split, relative to the folder of the card. Empty if the card names no files.
        folder: the folder of its files, relative to that of the card.
        is_default: whether the card calls it the default.
    """

    name: str
    patterns: Mapping[str, tuple[str, ...]]
    folder: str
    is_default: bool


def read_configs(folder: Path) -> list[CardConfig]:
    """Return the configurations of the card in a folder. No card, or a card without any, gives an empty list.

    Raises:
        DataError: the block at the start of the card is not valid YAML.
    """
    card = folder / CARD
    found = card_block(card).get("configs")
    entries = [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
    return [_config(entry, card) for entry in entries]


def card_block(card: Path) -> Mapping[str, Any]:
    """Return the YAML block at the start of a card. No card, or a card without a block, gives an empty mapping.

    Raises:
        DataError: the block is not valid YAML.
    """
    if not card.is_file():
        return {}
    lines = card.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff").split("\n---", 1)
    if len(lines) < 2 or not lines[0].startswith("---"):
        return {}
    try:
        block = yaml.safe_load(lines[0].removeprefix("---"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(
            f"The block at the start of {card} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    return block if isinstance(block, Mapping) else {}


def choose_config(folder: Path, name: str | None) -> CardConfig | None:
    """Return the configuration to use, or None if the card has none.

    Raises:
        DataError: there is no configuration of this name, or there are several and none is the default.
    """
    configs = read_configs(folder)
    names = [config.name for config in configs]
    if name is not None:
        if name not in names:
            has = f"It has: {', '.join(names)}." if names else f"{folder / CARD} describes none."
            raise DataError(f"{folder} has no configuration {name!r}.{nearest(name, names)} {has}")
        return configs[names.index(name)]
    if len(configs) < 2:
        return next(iter(configs), None)
    chosen = next((config for config in configs if config.is_default), None)
    if chosen is None:
        raise DataError(f"{folder} has the configurations {', '.join(names)}. Choose one with --config-name.")
    others = ", ".join(other for other in names if other != chosen.name)
    notice(f"{folder}: the configuration {chosen.name} is read. --config-name chooses another: {others}.")
    return chosen


def card_files(folder: Path, config: CardConfig) -> dict[str, list[Path]]:
    """Return the files of each part. Parts that are no split, such as ``unsupervised``, are left out with a note.

    Raises:
        DataError: no file matches a pattern, or no part is a split.
    """
    by_split = {split: name for name in config.patterns if (split := split_of(name))}
    others = [name for name in config.patterns if name not in by_split.values()]
    if not by_split:
        raise DataError(
            f"{folder / CARD} names no train, validation or test part, only {', '.join(others)}. Name the files with "
            "--train, --validation and --test."
        )
    if others:
        notice(f"{folder}: the parts {', '.join(others)} are left out.")
    return {split: _matching(folder, config.patterns[by_split[split]], by_split[split]) for split in in_order(by_split)}


def _matching(folder: Path, patterns: Iterable[str], part: str) -> list[Path]:
    found: dict[Path, None] = {}
    for pattern in patterns:
        try:
            # Python 3.13 reads it as one *, earlier versions refuse it in other words.
            if any("**" in name and name != "**" for name in pattern.split("/")):
                raise ValueError("Invalid pattern: '**' can only be an entire name")
            files = sorted(path for path in folder.glob(pattern) if path.is_file())
        except ValueError as error:
            raise DataError(f"{folder / CARD} names {pattern!r:.60}: {error}. Name files with --train.") from error
        if not files:
            raise DataError(
                f"{folder / CARD} names {pattern} as the {part} part, but no file has such a name. Restore them, or "
                "name others with --train, --validation and --test."
            )
        found |= dict.fromkeys(files)
    return list(found)


def _config(entry: Mapping[str, Any], card: Path) -> CardConfig:
    name = str(entry.get("config_name", "default"))
    folder = str(entry.get("data_dir") or "")
    _check_inside(folder, card)
    files = entry.get("data_files")
    # a text or a list of texts is the training part, as in the library `datasets`
    if isinstance(files, str) or (isinstance(files, list) and all(isinstance(item, str) for item in files)):
        files = [{"split": "train", "path": files}]
    if isinstance(files, Mapping):
        files = [{"split": split, "path": path} for split, path in files.items()]
    patterns = {
        str(item["split"]): _inside(folder, item.get("path"), card)
        for item in files or ()
        if isinstance(item, Mapping) and "split" in item
    }
    return CardConfig(name, patterns, folder, bool(entry.get("default")) or name == "default")


def _inside(folder: str, paths: Any, card: Path) -> tuple[str, ...]:
    names = [name for name in (paths if isinstance(paths, list) else [paths]) if name]
    if not names:
        raise DataError(f"{card} names a part without files. Name files with --train.")
    whole = tuple(f"{folder}/{name}" if folder else str(name) for name in names)
    for name in whole:
        _check_inside(name, card)
    return whole


def _check_inside(name: str, card: Path) -> None:
    # a card is written by others: it must not lead to files outside of its folder
    if name.startswith(("/", "~")) or ".." in Path(name).parts or ":" in name:
        raise DataError(f"{card} names {name!r:.60} as data, which is not in its folder. Name files with --train.")
