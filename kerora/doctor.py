"""Checks what a run needs: versions, backend, device, precision, caches, disk."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import torch
from packaging.requirements import Requirement

from kerora.backend import avoid_refused_settings
from kerora.data.tokens import cache_directory
from kerora.fast.switch import side
from kerora.models.precision import resolve_precision

LEAST_FREE_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    found: str
    good: bool
    remedy: str = ""


def examine() -> list[Finding]:
    """Return the results of all checks. A result that is not good has a remedy."""
    checks: list[Callable[[], Iterator[Finding]]] = [_versions, _tensorflow, _backend, _device, _caches, _disk]
    return [finding for check in checks for finding in check()]


def _versions() -> Iterator[Finding]:
    recent = sys.version_info >= (3, 11)
    yield Finding("python", platform.python_version(), recent, "" if recent else "Install Python 3.11 or newer.")
    # from the metadata of the package, so that pyproject.toml is the only list of versions
    for line in importlib.metadata.requires("kerora") or []:
        requirement = Requirement(line)
        # extra "": only what every installation needs, not the optional packages
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(requirement.name, "not installed", False, _installing(requirement))
            continue
        # prereleases=True, so that a nightly version of torch counts too
        good = requirement.specifier.contains(found, prereleases=True)
        yield Finding(requirement.name, found, good, "" if good else _installing(requirement))


def _installing(requirement: Requirement) -> str:
    # the requirements of KerasHub would bring TensorFlow into a lean installation
    if requirement.name == "keras-nlp":
        return f"pip install --no-deps keras-hub '{requirement}'"
    return f"pip install '{requirement}'"


def _tensorflow() -> Iterator[Finding]:
    try:
        found = f"{importlib.metadata.version('tensorflow')}, installed but not used"
    except importlib.metadata.PackageNotFoundError:
        found = "not installed (lean installation)"
    yield Finding("tensorflow", found, True)


def _backend() -> Iterator[Finding]:
    backend = keras.config.backend()
    yield Finding(
        "keras backend", backend, backend == "torch", "" if backend == "torch" else "Set KERAS_BACKEND=torch."
    )
    if refused := avoid_refused_settings():
        yield Finding("keras settings", f"left out, because Keras refuses {refused}", True)


def _device() -> Iterator[Finding]:
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1e9
        yield Finding("device", f"{torch.cuda.get_device_name()}, {memory:.0f} GB", True)
    else:
        yield Finding("device", f"cpu, {torch.get_num_threads()} threads", True)
    yield Finding("precision 'auto'", resolve_precision("auto"), True)
    yield Finding("computed by", side(), True)


def _caches() -> Iterator[Finding]:
    home = Path.home()
    places = {
        "token cache": cache_directory(),
        # `or`, because an empty variable counts as not set
        "KaggleHub cache": Path(os.environ.get("KAGGLEHUB_CACHE") or home / ".cache" / "kagglehub"),
        "Hugging Face cache": Path(os.environ.get("HF_HOME") or home / ".cache" / "huggingface"),
        "TFDS folder": Path(os.environ.get("TFDS_DATA_DIR") or home / "tensorflow_datasets"),
    }
    for what, path in places.items():
        good = _writable(path)
        remedy = f"Make {path} writable, or set its environment variable to another folder."
        yield Finding(what, str(path), good, "" if good else remedy)


def _writable(path: Path) -> bool:
    """Tell whether files can be created in `path`, or in its nearest parent if `path` does not exist."""
    # by creating a file, because permission bits do not tell about read-only file systems
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return True
    except OSError:
        return False


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    good = free >= LEAST_FREE_GB
    yield Finding(
        "free disk here",
        f"{free:.1f} GB",
        good,
        "" if good else f"Free {LEAST_FREE_GB:.0f} GB or work in a folder on another disk.",
    )
