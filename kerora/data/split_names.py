"""The names that files, folders and JSON keys use for the parts of a data set."""

import re
from collections.abc import Iterable

from kerora.settings.fit import SPLITS

SPLIT_NAMES = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"},
}
# As TFDS and the Hugging Face hub number the files of a split.
SHARD = re.compile(r"-\d+-of-\d+$")
_BETWEEN = re.compile(r"[-_. ]+")


def split_of(stem: str) -> str | None:
    """Return the split of a name such as ``train``, ``Dev`` or ``test-00000-of-00002``, or None."""
    return SPLIT_NAMES.get(SHARD.sub("", stem).lower())


def split_inside(stem: str) -> tuple[str, str] | None:
    """Return the split in a longer name, and the rest of the name: ``("train", "imdb")`` for ``imdb_train``.

    Return None if no word of the name is a split, or if several are.
    """
    words = _BETWEEN.split(SHARD.sub("", stem).lower())
    found = [word for word in words if word in SPLIT_NAMES]
    # "train_test_split" names no single part.
    if len(found) != 1 or len(words) < 2:
        return None
    return SPLIT_NAMES[found[0]], "_".join(word for word in words if word != found[0])


def in_order(splits: Iterable[str]) -> list[str]:
    """Return the splits that occur, in the order train, validation, test."""
    found = set(splits)
    return [split for split in SPLITS if split in found]
