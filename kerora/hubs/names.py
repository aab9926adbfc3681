"""Names of models and data sets on the hubs, and the errors of a hub.

The clients of the hubs are slow to import, and local files do not need them. They are imported in `kerora.hubs.client`
and `kerora.models.hub` alone.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

KAGGLE = "kaggle://"
HUGGING_FACE = "hf://"
DATASETS = "hf://datasets/"
# names without an organisation, such as gpt2, have one part; a revision with a slash in it is written with %2F
_ADDRESS = re.compile(
    r"(?P<name>[^/@]+(?:/[^/@]+)?)(?:@(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(?P<path>.+?))?/*"
)


class OfflineError(Exception):
    """A model or data set is not in the cache and its site cannot be reached.

    Args:
        site: address that was tried.
        cache: folder that was searched for the model.
        reason: why the site did not answer.
    """

    def __init__(self, site: str, cache: Path, reason: str) -> None:
        super().__init__(f"{site}: {reason}")
        self.site, self.cache, self.reason = site, cache, reason


class RefusedError(Exception):
    """A hub knows no such repository, revision or file, or wants other credentials. The text says which."""


@dataclass(frozen=True)
class Repository:
    """A repository of the Hugging Face hub.

    Attributes:
        kind: what it holds.
        name: ``organisation/name``, or a name alone for the oldest ones.
        revision: branch, tag or commit. None is the newest commit of the main branch.
        path: a file or folder in it. Empty is the whole repository.
    """

    kind: Literal["model", "dataset"]
    name: str
    revision: str | None = None
    path: str = ""

    @property
    def short_name(self) -> str:
        """The name without the organisation."""
        return self.name.rpartition("/")[2]


def parse_repository(spec: str) -> Repository | None:
    """Return the repository that ``hf://[datasets/]organisation/name[@revision][/path]`` names, or None.

    A name with one part, such as ``hf://datasets/imdb``, cannot have a path: the second part belongs to the name.
    """
    kind: Literal["model", "dataset"] = "dataset" if spec.startswith(DATASETS) else "model"
    found = _ADDRESS.fullmatch(spec.removeprefix(DATASETS if kind == "dataset" else HUGGING_FACE).lstrip("/"))
    if not spec.startswith(HUGGING_FACE) or found is None:
        return None
    revision, path = found["revision"], found["path"] or ""
    # a path out of the repository would be a path of this machine
    if ".." in path.split("/"):
        return None
    return Repository(kind, found["name"], None if revision is None else unquote(revision), path)
