"""The presets that old KerasNLP and KerasHub versions wrote, see tests/fixtures/make_old_presets.py."""

import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

ARCHIVES = Path(__file__).parent / "fixtures" / "old_presets"
INPUTS = ("token_ids", "padding_mask", "segment_ids")
TEXTS = ["the quick brown fox", "a lazy dog jumps over the the", "zebra"]
"""What make_old_presets.py tokenized."""


def writers() -> list[str]:
    """Return the versions that have an archive, such as ``keras_nlp-0.8.2``."""
    return sorted(path.name.removesuffix(".tar.xz") for path in ARCHIVES.glob("*.tar.xz"))


@cache
def folders(writer: str) -> list[str]:
    """Return the names of the preset folders in an archive."""
    with tarfile.open(ARCHIVES / f"{writer}.tar.xz") as archive:
        return sorted(entry.name for entry in archive if entry.isdir() and "/" not in entry.name)


def unpack(writer: str, folder: str, directory: Path) -> Path:
    """Unpack one preset, with what its writer computed beside it, and return its folder."""
    with tarfile.open(ARCHIVES / f"{writer}.tar.xz") as archive:
        for entry in archive:
            if entry.name.split("/")[0] in (folder, f"{folder}.npz"):
                archive.extract(entry, directory, filter="data")
    return directory / folder


def written(folder: Path) -> dict[str, np.ndarray]:
    """Return the inputs and outputs that the writer left."""
    with np.load(folder.with_suffix(".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def inputs(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the model's inputs among them."""
    return {name: arrays[name] for name in INPUTS if name in arrays}


def work_on(run: Callable[[list[str]], int], preset: Path | str, data: Path, target: Path, *more: str) -> int:
    """Fine-tune for two small steps with `kerora fit` and return the exit status."""
    sizes = ("--max-length", "12", "--batch-size", "4", "--max-steps", "2", "--rank", "8", "--precision", "float32")
    places = ("--preset", preset, "--data", data, "--run", target)
    return run(["fit", *map(str, places), *sizes, "--quiet", *more])
