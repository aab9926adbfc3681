"""Downloads models from Kaggle and the Hugging Face hub into the caches of these hubs, and finds them there.

The clients of both hubs wait for minutes or forever if the network is down. Each download therefore starts with a short
check that the site answers, and stops if no data arrives for some time.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import kagglehub
import requests
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from kagglehub.cache import Cache, get_cached_path
from kagglehub.exceptions import BackendError, DataCorruptionError, KaggleApiHTTPError, UnauthenticatedError
from kagglehub.handle import ModelHandle, parse_model_handle
from kagglesdk.kaggle_env import get_endpoint, get_env, is_in_kaggle_notebook

from kerora.errors import PresetError
from kerora.models.hub_names import HUGGING_FACE, KAGGLE, OfflineError
from kerora.models.keras_presets import CONFIG, EXACT_FILE, HEAD_FILE, LABELS_FILE, TASK, TASK_WEIGHTS
from kerora.models.keras_weights import SHARDS, WEIGHTS, has_keras_weights, listed_shards
from kerora.models.tensor_files import weight_files
from kerora.models.tokenizer_files import HUGGING_FACE_FILES, KERAS_ASSETS, TOKENIZER_FILE, keras_vocabulary

PROBE_SECONDS = 4.0
"""Longest wait for an answer of a site."""
STALL_SECONDS = 60.0
"""Longest time that a download may continue without a new byte."""

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

Result = TypeVar("Result")


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
        _probe(site, cache)
    try:
        return _patiently(lambda: _download_from_kaggle(handle.removeprefix(KAGGLE)), cache.parent)
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
        raise OfflineError(site, cache, _reason(error)) from error


def huggingface_directory(spec: str) -> Path:
    """Return the local folder of ``hf://organisation/name``. Download the files that are not in the cache of the hub.

    Raises:
        OfflineError: the model is not cached and the hub cannot be reached.
        PresetError: the name is malformed, or the hub refuses the download.
    """
    repository = spec.removeprefix(HUGGING_FACE).strip("/")
    cache = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    try:
        # The hub gives the folder of a snapshot even if an interrupted download left files out.
        directory = Path(snapshot_download(repository, local_files_only=True))
        if _is_complete_snapshot(directory):
            return directory
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise PresetError(f"Hugging Face names have the form hf://organisation/name. Received: {spec!r}") from error
    if constants.HF_HUB_OFFLINE:
        # The user forbids requests, so there is no probe either.
        raise OfflineError(constants.ENDPOINT, cache, "HF_HUB_OFFLINE is set")
    _probe(constants.ENDPOINT, cache)
    try:
        return _patiently(lambda: _download_from_hugging_face(repository), cache)
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise _refused(spec, "The Hugging Face hub", error) from error
    except Exception as error:  # The HTTP library, and so its exceptions, depend on the version of the client.
        raise OfflineError(constants.ENDPOINT, cache, _reason(error)) from error


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


def _download_from_hugging_face(repository: str) -> Path:
    """Download the model. Torch files, which may hold code, are fetched only if there are no others. No code runs."""
    directory = Path(snapshot_download(repository, allow_patterns=_HUGGING_FACE_PATTERNS, etag_timeout=PROBE_SECONDS))
    if not weight_files(directory) and not has_keras_weights(directory):
        snapshot_download(repository, allow_patterns=_TORCH_PATTERNS, etag_timeout=PROBE_SECONDS)
    return directory


def _is_complete_snapshot(directory: Path) -> bool:
    if not (directory / CONFIG).is_file():
        return False
    try:
        return bool(weight_files(directory)) or has_keras_weights(directory)
    except PresetError:  # A shard is missing.
        return False


def _probe(site: str, cache: Path) -> None:
    """Raise `OfflineError` if the site gives no answer of any kind within `PROBE_SECONDS`."""
    try:
        # requests applies its timeout to the connection and to the answer, so each gets half. The look-up of the name
        # has no timeout, so the request runs in a thread.
        _in_thread(lambda: requests.head(site, timeout=PROBE_SECONDS / 2), lambda: None, PROBE_SECONDS)
    except (requests.exceptions.RequestException, TimeoutError) as error:
        raise OfflineError(site, cache, _reason(error)) from error


def _patiently(download: Callable[[], Result], folder: Path) -> Result:
    """Run a download. It fails if the size of the folder does not change for `STALL_SECONDS`."""

    def size() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0

    return _in_thread(download, size, STALL_SECONDS)


def _in_thread(work: Callable[[], Result], progress: Callable[[], Any], seconds: float) -> Result:
    """Run `work` in a thread. Raise TimeoutError if the value of `progress` does not change for `seconds`."""
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = work()
        except BaseException as error:  # Raised again below, in the thread of the caller.
            outcome["error"] = error

    # A daemon, because a client that hangs must not keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    last, since = progress(), time.monotonic()
    while thread.is_alive():
        thread.join(min(0.5, seconds))
        now = progress()
        if now != last:
            last, since = now, time.monotonic()
        # The thread may have ended since the check of the loop.
        elif thread.is_alive() and time.monotonic() - since > seconds:
            raise TimeoutError(f"no answer within {seconds:g} seconds")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def _reason(error: BaseException) -> str:
    """Return the reason of an error on one line, without the nested text of the clients."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ReadTimeout):
        return f"no answer within {PROBE_SECONDS:g} seconds"
    text = " ".join(str(error).split())
    for known in ("Failed to resolve", "Name or service not known", "Temporary failure in name resolution"):
        if known in text:
            return "its name cannot be resolved"
    if "refused" in text:
        return "connection refused"
    return text[:160] or type(error).__name__


def _refused(spec: str, site: str, error: BaseException) -> PresetError:
    reason = " ".join(str(error).split())[:200]
    return PresetError(
        f"{site} refuses the download of {spec!r}: {reason}. Check the name, its licence page and your credentials."
    )
