"""Downloads from the Hugging Face hub into its cache, with the credentials of its client."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from kerora.hubs.names import OfflineError, RefusedError, Repository
from kerora.hubs.patience import PROBE_SECONDS, patiently, probe, reason
from kerora.notices import quiet

REFUSED = (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError)
LOGIN = "Log in with `hf auth login` or HF_TOKEN"


def cache_folder(repository: Repository) -> Path:
    """Return the folder of a repository in the cache of the hub."""
    return Path(constants.HF_HUB_CACHE) / f"{repository.kind}s--{repository.name.replace('/', '--')}"


def cached(repository: Repository, patterns: Sequence[str]) -> Path | None:
    """Return the folder of the files in the cache, or None. No network is used.

    Raises:
        RefusedError: the name is malformed.
    """
    try:
        return Path(_snapshot(repository, patterns, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise RefusedError(f"{repository.name!r} is no name of a repository") from error


def download(repository: Repository, patterns: Sequence[str]) -> Path:
    """Return the folder of the files that match one of the patterns. What the cache lacks is downloaded.

    Raises:
        OfflineError: the hub cannot be reached, or HF_HUB_OFFLINE is set.
        RefusedError: the hub knows no such repository or revision, or access needs a token.
    """
    cache = cache_folder(repository)
    if constants.HF_HUB_OFFLINE:
        # The user forbids requests, so there is no probe either.
        raise OfflineError(constants.ENDPOINT, cache, "HF_HUB_OFFLINE is set")
    probe(constants.ENDPOINT, cache)
    try:
        return Path(patiently(lambda: _snapshot(repository, patterns, etag_timeout=PROBE_SECONDS), cache))
    except REFUSED as error:
        raise RefusedError(refusal(error, repository.name, repository.revision)) from error
    except HFValidationError as error:
        raise RefusedError(f"{repository.name!r} is no name of a repository") from error
    except HfHubHTTPError as error:
        # The status of the first answer: 401 and 403 need another token, all others are faults of the site.
        if error.response is not None and error.response.status_code in (401, 403):
            raise RefusedError(refusal(error, repository.name, repository.revision)) from error
        raise OfflineError(constants.ENDPOINT, cache, reason(error)) from error
    except Exception as error:  # The HTTP library, and so its exceptions, depend on the version of the client.
        raise OfflineError(constants.ENDPOINT, cache, reason(error)) from error


def refusal(error: Exception, name: str, revision: str | None = None) -> str:
    """Return one sentence without a full stop: why the hub refuses a repository, and what to do."""
    if isinstance(error, GatedRepoError):
        return f"{name} is gated. Accept its terms on its page, then {LOGIN[0].lower()}{LOGIN[1:]}"
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {revision!r}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no repository {name}, or it is private. Check the name. {LOGIN} for a private one"
    return f"the token does not allow access to {name}. {LOGIN}"


def _snapshot(repository: Repository, patterns: Sequence[str], **options: object) -> str:
    # A pattern without a file is a warning of the client. The caller reports it in words of its own.
    with quiet("huggingface_hub"):
        folder: str = snapshot_download(  # type: ignore[call-overload]
            repository.name,
            repo_type=repository.kind,
            revision=repository.revision,
            allow_patterns=list(patterns),
            **options,
        )
    return folder
