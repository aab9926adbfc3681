"""The switch that turns off all code that only saves time or memory."""

import os

VARIABLE = "KERORA_PLAIN"


def is_plain() -> bool:
    """Return whether `kerora.fast` is turned off: ``KERORA_PLAIN`` is set to a value other than 0.

    Set it before Python starts. A model that is already built does not change.
    """
    return os.environ.get(VARIABLE, "") not in ("", "0")


def side() -> str:
    """Return a description of what computes the model."""
    if is_plain():
        return f"Keras' own layers, plainly ({VARIABLE}={os.environ[VARIABLE]})"
    return f"kerora.fast, where it can ({VARIABLE}=1 turns it off)"
