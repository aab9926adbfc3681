"""The one switch that turns off what is only there for speed."""

import os

VARIABLE = "KERORA_PLAIN"


def is_plain() -> bool:
    """Return whether everything is to be computed without `kerora.fast`: ``KERORA_PLAIN`` is set, and not to 0.

    Set it before Python starts: a model that was built on one side stays there.
    """
    return os.environ.get(VARIABLE, "") not in ("", "0")


def side() -> str:
    """Say in words which side computes."""
    if is_plain():
        return f"Keras' own layers, plainly ({VARIABLE}={os.environ[VARIABLE]})"
    return f"kerora.fast, where it can ({VARIABLE}=1 turns it off)"
