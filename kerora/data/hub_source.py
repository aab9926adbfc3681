"""Data sets of the Hugging Face hub: ``hf://datasets/organisation/name[@revision][/path]``."""

from collections.abc import Sequence
from pathlib import Path

from kerora.data.compression import ENDINGS
from kerora.data.files import FORMATS
from kerora.data.hub_card import CARD, choose_config
from kerora.errors import DataError
from kerora.hubs.names import DATASETS, HUGGING_FACE, OfflineError, RefusedError, Repository, parse_repository
from kerora.notices import notice

FORM = f"{DATASETS}organisation/name[@revision][/path]"
# tables and texts, also compressed, but no pictures or audio
DATA_PATTERNS = (CARD, *(f"*{kind}{packed}" for kind in (*FORMATS, ".txt") for packed in ("", *ENDINGS)))


def is_hub_name(spec: str) -> bool:
    """Tell whether a source is on the Hugging Face hub."""
    return spec.startswith(HUGGING_FACE)


def hub_name(spec: str) -> str:
    """Return the short name of a data set on the hub, for run folders.

    Raises:
        DataError: the name is malformed.
    """
    return _parse(spec).short_name


def hub_path(spec: str, config_name: str | None) -> Path:
    """Return the local folder or file of a data set on the hub. What the cache of the hub lacks is downloaded.

    Without a path in `spec`, only tables and texts are downloaded, and if the card describes configurations, only the
    files of the chosen one. Offline, the copy in the cache is used.

    Raises:
        DataError: the name is malformed, the hub refuses it, the path does not exist, or the data is not cached and
            the hub cannot be reached.
    """
    repository = _parse(spec)
    if repository.path:
        path = repository.path
        folder = _fetched(repository, spec, [path, f"{path}/*"])
        if not (folder / path).exists():
            raise DataError(f"{repository.name} has no file or folder {path!r}. Look at its files on the hub.")
        return folder / path
    chosen = choose_config(_fetched(repository, spec, [CARD, "dataset_dict.json"]), config_name)
    if chosen is None or not (chosen.patterns or chosen.folder):
        return _fetched(repository, spec, DATA_PATTERNS)
    named = [pattern for patterns in chosen.patterns.values() for pattern in patterns]
    return _fetched(repository, spec, [CARD, *(named or [f"{chosen.folder}/*"])])


def _parse(spec: str) -> Repository:
    repository = parse_repository(spec)
    if repository is None:
        raise DataError(f"Data sets of the Hugging Face hub have the form {FORM}. Received: {spec!r}")
    if repository.kind != "dataset":
        raise DataError(f"{spec} is a model. A data set has the form {FORM}.")
    return repository


def _fetched(repository: Repository, spec: str, patterns: Sequence[str]) -> Path:
    # a third of a second that only such names need
    from kerora.hubs import client

    try:
        return client.download(repository, patterns)
    except RefusedError as error:
        raise DataError(f"The Hugging Face hub refuses {spec}: {error}.") from error
    except OfflineError as error:
        folder = client.cached(repository, patterns)
        if folder is None:
            raise DataError(
                f"{spec} is not in the cache ({error.cache}) and {error.site} cannot be reached ({error.reason}). Go "
                "online once, or give local files."
            ) from error
        notice(f"{error.site} cannot be reached ({error.reason}), so {spec} is read from the cache.")
        return folder
