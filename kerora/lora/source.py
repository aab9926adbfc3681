"""Finds the folder of an adapter: on the disk, or on the Hugging Face hub."""

from pathlib import Path

from kerora.errors import AdapterError
from kerora.hubs.names import HUGGING_FACE, OfflineError, RefusedError, parse_repository

_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_FILES = ("adapter_config.json", "kerora_adapter.json", "labels.json", "head.keras")


def adapter_folder(spec: str | Path) -> Path:
    """Return the folder of an adapter. ``hf://organisation/name[@revision][/folder]`` is downloaded if not cached.

    Raises:
        AdapterError: the name is malformed, the hub refuses the download, or it cannot be reached and the adapter is
            not cached.
    """
    if not str(spec).startswith(HUGGING_FACE):
        return Path(spec)
    # the client of the hub is slow to import, and a local adapter does not need it
    from kerora.hubs import client

    repository = parse_repository(str(spec))
    if repository is None or repository.kind == "dataset":
        raise AdapterError(f"Adapters have the form hf://organisation/name[@revision][/folder]. Received: {spec!r}")
    inside = f"{repository.path}/" if repository.path else ""
    try:
        folder = client.cached(repository, _patterns(inside, _WEIGHTS[0]))
        if folder is None or not (folder / inside / _WEIGHTS[0]).is_file():
            folder = client.download(repository, _patterns(inside, _WEIGHTS[0]))
        # torch's format is fetched only if there is no other; its tensors are read, and no code in it runs
        if not (folder / inside / _WEIGHTS[0]).is_file():
            folder = client.download(repository, _patterns(inside, *_WEIGHTS))
    except RefusedError as error:
        raise AdapterError(f"The Hugging Face hub refuses {spec}: {error}.") from error
    except OfflineError as error:
        raise AdapterError(
            f"{spec} is not in the cache ({error.cache}) and {error.site} cannot be reached ({error.reason}). Go "
            "online once, or give the folder of an adapter."
        ) from error
    return folder / inside


def _patterns(inside: str, *weights: str) -> list[str]:
    return [f"{inside}{name}" for name in (*_FILES, *weights)]
