"""Pushes an export to the Hugging Face hub."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kerora.errors import ConfigError, RunError
from kerora.hubs.names import HUGGING_FACE, OfflineError, RefusedError, Repository, parse_repository
from kerora.hubs.uploads import Upload, check_access, plan_upload, upload
from kerora.version import __version__

Result = TypeVar("Result")
NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Push:
    """The target of an export on the hub.

    Attributes:
        repository: the repository.
        private: whether a new repository is private.
        force: whether files of the repository may be replaced.
        dry_run: whether nothing is uploaded.
    """

    repository: Repository
    private: bool = True
    force: bool = False
    dry_run: bool = False


def check_push(name: str, *, private: bool = True, force: bool = False, dry_run: bool = False) -> Push:
    """Return the target of an upload. This is called before the export, which can take minutes.

    Raises:
        ConfigError: the name is malformed.
        RunError: there is no token, the hub does not know it, or it cannot be reached.
    """
    repository = parse_repository(name if name.startswith(HUGGING_FACE) else f"{HUGGING_FACE}{name}")
    form = f"--push needs organisation/name of a model repository. Received: {name!r}"
    if (
        repository is None
        or not NAME.fullmatch(repository.name)
        or repository.kind != "model"
        or repository.revision
        or repository.path
    ):
        raise ConfigError(form)
    _told(repository.name, check_access)
    return Push(repository, private, force, dry_run)


def push(folder: Path, target: Push, form: str, say: Callable[[str], None]) -> None:
    """Upload an export, after the files and the target were said.

    Args:
        folder: the export.
        target: where to.
        form: the format of the export, for the message of the commit.
        say: gets each line for the user.

    Raises:
        RunError: files of the repository would be replaced and `force` is False, or the hub refuses the upload.
    """
    name = target.repository.name
    plan: Upload = _told(name, lambda: plan_upload(folder, target.repository))
    for line in described(plan, target.private):
        say(line)
    if target.dry_run:
        say("Dry run: nothing was uploaded.")
        return
    if plan.changed and not target.force:
        raise RunError(
            f"{name} has other versions of {', '.join(plan.changed)}. Nothing was uploaded. "
            "Add --force to replace them, or push to another name."
        )
    message = f"Upload a model in the format {form} with Kerora {__version__}"
    say(f"Pushed: {_told(name, lambda: upload(folder, plan, message, private=target.private))}")


def described(plan: Upload, private: bool) -> list[str]:
    """Return the target and the files of an upload as lines."""
    whose = "private" if (private if plan.private is None else plan.private) else "public"
    state = "exists and stays" if plan.exists else "new,"
    lines = [f"Target: {plan.repository.name} ({state} {whose})"]
    width = max(len(file.name) for file in plan.files)
    lines += [f"  {file.state:8}{file.name:{width}}  {_size(file.size)}" for file in plan.files]
    if plan.kept:
        lines.append(f"Other files of the repository stay: {', '.join(plan.kept)}")
    return lines


def _size(size: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"


def _told(name: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except RefusedError as error:
        raise RunError(f"The Hugging Face hub refuses {name}: {error}.") from error
    except OfflineError as error:
        raise RunError(f"{error.site} cannot be reached ({error.reason}), so {name} was not pushed.") from error
