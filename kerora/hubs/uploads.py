"""Uploads of a folder to a model repository of the Hugging Face hub, with the credentials of its client."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from kerora.hubs.client import LOGIN, refusal
from kerora.hubs.names import OfflineError, RefusedError, Repository
from kerora.hubs.patience import probe, reason

State = Literal["new", "changed", "same"]


@dataclass(frozen=True)
class UploadFile:
    """One file of an upload.

    Attributes:
        name: its path in the repository.
        size: its size in bytes.
        state: whether the repository lacks it, has another content, or has the same.
    """

    name: str
    size: int
    state: State


@dataclass(frozen=True)
class Upload:
    """What an upload would do.

    Attributes:
        repository: the target.
        exists: whether the repository exists.
        private: whether an existing repository is private. None if it does not exist.
        commit: the newest commit of an existing repository.
        files: the files to upload.
        kept: files of the repository that the folder does not have. They stay.
    """

    repository: Repository
    exists: bool
    private: bool | None
    commit: str | None
    files: tuple[UploadFile, ...]
    kept: tuple[str, ...]

    @property
    def changed(self) -> list[str]:
        """Names of the files that would be replaced."""
        return [file.name for file in self.files if file.state == "changed"]


def check_access() -> None:
    """Check that there is a token, and that the hub answers and knows it.

    Raises:
        RefusedError: there is no token, or the hub does not know it.
        OfflineError: the hub cannot be reached.
    """
    if constants.HF_HUB_OFFLINE:
        raise OfflineError(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), "HF_HUB_OFFLINE is set")
    if not get_token():
        raise RefusedError(f"an upload needs a token with the right to write. {LOGIN}")
    probe(constants.ENDPOINT, Path(constants.HF_HUB_CACHE))
    _asked(lambda api: api.whoami(), "this account")


def plan_upload(folder: Path, repository: Repository) -> Upload:
    """Compare a folder with a repository. This changes nothing.

    Raises:
        RefusedError: the token does not allow access.
        OfflineError: the hub does not answer.
    """
    remote: Any = None
    try:
        remote = _asked(lambda api: api.model_info(repository.name, files_metadata=True), repository.name)
    except _Missing:
        pass
    there = {} if remote is None else {item.rfilename: item for item in remote.siblings or ()}
    files = tuple(
        UploadFile(name, path.stat().st_size, _state(path, there.get(name))) for name, path in _local_files(folder)
    )
    kept = tuple(name for name in there if name not in {file.name for file in files})
    private, commit = (None, None) if remote is None else (bool(remote.private), remote.sha)
    return Upload(repository, remote is not None, private, commit, files, kept)


def upload(folder: Path, plan: Upload, message: str, *, private: bool) -> str:
    """Create the repository if it does not exist, and upload the new and the changed files in one commit.

    Args:
        folder: the folder that was planned.
        plan: what `plan_upload` found. If the repository changed since then, nothing is uploaded.
        message: the message of the commit.
        private: whether a new repository is private. An existing one stays as it is.

    Returns:
        The address of the commit, or of the repository if no file differs.

    Raises:
        RefusedError: the token does not allow it, or the repository changed.
        OfflineError: the hub does not answer.
    """
    name = plan.repository.name
    added = [
        CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=folder / file.name)
        for file in plan.files
        if file.state != "same"
    ]
    if not added:
        return f"{constants.ENDPOINT}/{name}"
    if not plan.exists:
        _asked(lambda api: api.create_repo(name, private=private), name)
    commit = _asked(lambda api: api.create_commit(name, added, commit_message=message, parent_commit=plan.commit), name)
    return str(commit.commit_url)


class _Missing(RefusedError):
    """There is no such repository, or the token does not show it."""


def _asked(work: Any, name: str) -> Any:
    try:
        return work(HfApi(endpoint=constants.ENDPOINT))
    except RepositoryNotFoundError as error:
        raise _Missing(refusal(error, name)) from error
    except HfHubHTTPError as error:
        status = None if error.response is None else error.response.status_code
        if status in (409, 412):
            raise RefusedError(f"{name} changed at this moment. Run the command again") from error
        if status in (401, 403):
            raise RefusedError(refusal(error, name)) from error
        raise OfflineError(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), reason(error)) from error
    except ValueError as error:
        raise RefusedError(" ".join(str(error).split()).rstrip(".")) from error
    except Exception as error:  # The HTTP library, and so its exceptions, depend on the version of the client.
        raise OfflineError(constants.ENDPOINT, Path(constants.HF_HUB_CACHE), reason(error)) from error


def _local_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path.relative_to(folder).as_posix(), path


def _state(path: Path, remote: Any) -> State:
    if remote is None:
        return "new"
    # large files are known by their sha256, all others by the hash of git
    sha256 = getattr(remote.lfs, "sha256", None) if remote.lfs else None
    digest = hashlib.sha256() if sha256 else hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return "same" if digest.hexdigest() == (sha256 or remote.blob_id) else "changed"
