"""Downloads models from Kaggle and the Hugging Face hub into the caches of these hubs, and finds them there."""

import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import kagglehub
import requests
from kagglehub.cache import Cache, get_cached_path
from kagglehub.exceptions import BackendError, DataCorruptionError, KaggleApiHTTPError, UnauthenticatedError
from kagglehub.handle import ModelHandle, parse_model_handle
from kagglesdk.kaggle_env import get_endpoint, get_env, is_in_kaggle_notebook

from kerora.errors import PresetError
from kerora.hubs.client import cached, download
from kerora.hubs.names import KAGGLE, OfflineError, RefusedError, Repository, parse_repository
from kerora.hubs.patience import patiently, probe, reason
from kerora.models.keras_presets import CONFIG, EXACT_FILE, HEAD_FILE, LABELS_FILE, TASK, TASK_WEIGHTS
from kerora.models.keras_weights import SHARDS, WEIGHTS, has_keras_weights, listed_shards
from kerora.models.tensor_files import weight_files
from kerora.models.tokenizer_files import HUGGING_FACE_FILES, KERAS_ASSETS, TOKENIZER_FILE, keras_vocabulary

_KERORA_FILES = (EXACT_FILE, LABELS_FILE, HEAD_FILE)
"""Files that Kerora adds to the files of KerasHub when it exports a preset."""
_HUGGING_FACE_PATTERNS = [
    CONFIG,
    *HUGGING_FACE_FILES,
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    WEIGHTS,
    SHARDS,
    "model_*.weights.h5",
    TASK,
    TASK_WEIGHTS,
    *_KERORA_FILES,
    f"{KERAS_ASSETS.as_posix()}/*",
]
_TORCH_PATTERNS = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]


def cached_kaggle_directory(handle: str) -> Path | None:
    """Return the folder of a Kaggle model in the cache of KaggleHub if all its files are complete, else None.

    A handle without a version gives the newest complete version.
    """
    parsed = _parse(handle)
    if parsed.is_versioned():
        return _complete_directory(parsed)
    parent = Path(get_cached_path(parsed)).parent
    # The folder of the marks, `.complete`, lies beside the versions.
    versions = sorted((int(path.name) for path in parent.glob("*") if path.name.isdecimal()), reverse=True)
    complete = (_complete_directory(parsed.with_version(version)) for version in versions)
    return next((directory for directory in complete if directory), None)


def kaggle_directory(handle: str, spec: str) -> Path:
    """Return the local folder of a Kaggle model. Download the files that are not in the cache of KaggleHub.

    Args:
        handle: ``kaggle://owner/model/framework/variation[/version]``.
        spec: what the user asked for, for messages.

    Raises:
        OfflineError: the model is not cached and Kaggle cannot be reached.
        PresetError: Kaggle refuses the download.
    """
    cached = cached_kaggle_directory(handle)
    if cached:
        return cached
    parsed = _parse(handle)
    cache = Path(get_cached_path(parsed)) if parsed.is_versioned() else Path(get_cached_path(parsed)).parent
    site = get_endpoint(get_env())
    if not is_in_kaggle_notebook():  # A notebook of Kaggle mounts models, so the site need not be reachable.
        probe(site, cache)
    try:
        return patiently(lambda: _download_from_kaggle(handle.removeprefix(KAGGLE)), cache.parent)
    except (
        # HTTPError is an OSError too, so it is caught before the OSError below.
        requests.exceptions.HTTPError,
        UnauthenticatedError,
        BackendError,
        DataCorruptionError,
        ValueError,
    ) as error:
        raise _refused(spec, "Kaggle", error) from error
    except (OSError, TimeoutError) as error:
        raise OfflineError(site, cache, reason(error)) from error


def huggingface_directory(spec: str) -> Path:
    """Return the local folder of ``hf://organisation/name[@revision]``.

    The files that are not in the cache of the hub are downloaded.

    Raises:
        OfflineError: the model is not cached and the hub cannot be reached.
        PresetError: the name is malformed, or the hub refuses the download.
    """
    repository = parse_repository(spec)
    if repository is None or repository.kind == "dataset" or repository.path:
        raise PresetError(f"Hugging Face models have the form hf://organisation/name[@revision]. Received: {spec!r}")
    try:
        directory = cached(repository, _HUGGING_FACE_PATTERNS)
        # An older client gives the folder of a snapshot even if an interrupted download left files out.
        if directory is None or not _is_complete_snapshot(directory):
            directory = _download_from_hugging_face(repository)
        return directory
    except RefusedError as error:
        raise PresetError(f"The Hugging Face hub refuses the download of {spec!r}: {error}.") from error


def _parse(handle: str) -> ModelHandle:
    try:
        return parse_model_handle(handle.removeprefix(KAGGLE))
    except ValueError as error:
        raise PresetError(
            f"Kaggle models have the form {KAGGLE}owner/model/keras/variation[/version]. Received: {handle!r}"
        ) from error


def _complete_directory(handle: ModelHandle) -> Path | None:
    cache, directory = Cache(), Path(get_cached_path(handle))

    def has(name: str) -> bool:
        return (directory / name).is_file() and (whole or cache.load_from_cache(handle, name) is not None)

    # KaggleHub marks complete downloads: one mark for the whole model, or one for each file.
    whole = cache.load_from_cache(handle) is not None
    if not has(CONFIG) or not has(TOKENIZER_FILE):
        return None
    # Without either file, the check below fails on the usual name.
    weights = [WEIGHTS] if has(WEIGHTS) or not has(SHARDS) else listed_shards(directory)
    return directory if all(has(name) for name in [*weights, *_vocabulary_files(directory)]) else None


def _vocabulary_files(directory: Path) -> list[str]:
    return [(KERAS_ASSETS / name).as_posix() for name in keras_vocabulary(directory)]


def _download_from_kaggle(handle: str) -> Path:
    """Download file by file, as KerasHub does, so that both use the same cache."""

    def fetch(name: str) -> Path:
        return Path(kagglehub.model_download(handle, name))

    _keep_standard_output_clean()
    directory = fetch(CONFIG).parent
    # tokenizer.json names the class of the tokenizer, and so its vocabulary files.
    fetch(TOKENIZER_FILE)
    for name in _vocabulary_files(directory):
        fetch(name)
    _fetch_weights(fetch)
    # Most presets hold only a backbone. No preset of the owner "keras" was exported by Kerora.
    optional = [[TASK, TASK_WEIGHTS], *([] if handle.startswith("keras/") else [[name] for name in _KERORA_FILES])]
    for names in optional:
        with contextlib.suppress(KaggleApiHTTPError, ValueError):
            for name in names:
                fetch(name)
    return directory


def _keep_standard_output_clean() -> None:
    """Send the messages of KaggleHub to standard error. Standard output is for results, such as those of ``--json``."""
    for handler in logging.getLogger("kagglehub").handlers:
        if type(handler) is logging.StreamHandler:
            # KaggleHub gives its handler sys.stdout when it is imported.
            handler.stream = sys.stderr


def _fetch_weights(fetch: Callable[[str], Path]) -> None:
    """Download the weights. Large presets have several weight files and a list of these files."""
    try:
        fetch(WEIGHTS)
    except (KaggleApiHTTPError, ValueError) as missing:
        try:
            directory = fetch(SHARDS).parent
        except (KaggleApiHTTPError, ValueError):
            # The error about the usual file is clearer than that about the list.
            raise missing from None
        for name in listed_shards(directory):
            fetch(name)


def _download_from_hugging_face(repository: Repository) -> Path:
    """Download the model. Torch files, which may hold code, are fetched only if there are no others. No code runs."""
    # with the card, which names the licence; a copy in the cache is complete without it
    directory = download(repository, [*_HUGGING_FACE_PATTERNS, "README.md"])
    if not weight_files(directory) and not has_keras_weights(directory):
        download(repository, _TORCH_PATTERNS)
    return directory


def _is_complete_snapshot(directory: Path) -> bool:
    if not (directory / CONFIG).is_file():
        return False
    try:
        return bool(weight_files(directory)) or has_keras_weights(directory)
    except PresetError:  # A shard is missing.
        return False


def _refused(spec: str, site: str, error: BaseException) -> PresetError:
    text = " ".join(str(error).split())[:200]
    return PresetError(
        f"{site} refuses the download of {spec!r}: {text}. Check the name, its licence page and your credentials."
    )
