"""Says which reading was taken where a file can be read in two ways. Each note is said once in a process."""

import logging

_LOGGER = logging.getLogger(__name__)
_SAID: set[str] = set()


def note(message: str) -> None:
    """Write one line to stderr, or to the handlers that a program has set for the logger ``kerora.data.notes``.

    A file can be read several times in one command. The line is then written once.
    """
    if message not in _SAID:
        _SAID.add(message)
        _LOGGER.warning("Note: %s", " ".join(message.split()))
