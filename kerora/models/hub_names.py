"""Prefixes of the names of models on the hubs, and the error if a hub cannot be reached.

They are not in `kerora.models.hub`, because the clients of the hubs are slow to import and a local model does not need
them.
"""

from pathlib import Path

KAGGLE = "kaggle://"
HUGGING_FACE = "hf://"


class OfflineError(Exception):
    """A model is not in the cache and its site cannot be reached.

    Args:
        site: address that was tried.
        cache: folder that was searched for the model.
        reason: why the site did not answer.
    """

    def __init__(self, site: str, cache: Path, reason: str) -> None:
        super().__init__(f"{site}: {reason}")
        self.site, self.cache, self.reason = site, cache, reason
