"""How models of the hubs are spelled, and the error where a hub cannot be reached.

They stand apart from `kerora.models.hub`, whose clients take a third of a second to import, so that a model that lies
here is opened without them.
"""

from pathlib import Path

KAGGLE = "kaggle://"
HUGGING_FACE = "hf://"


class OfflineError(Exception):
    """A model is not in the cache and its site cannot be reached.

    Args:
        site: address that was tried.
        cache: folder where the model was looked for.
        reason: why the site did not answer.
    """

    def __init__(self, site: str, cache: Path, reason: str) -> None:
        super().__init__(f"{site}: {reason}")
        self.site, self.cache, self.reason = site, cache, reason
