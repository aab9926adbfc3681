"""Arguments of Keras and scikit-learn in the calls of scripts: callbacks, progress, texts and labels by position."""

from collections.abc import Sequence
from typing import Any

import keras

from kerora.errors import ConfigError
from kerora.evaluation.directions import is_lower_better
from kerora.settings.base import shown
from kerora.training.progress import Progress


def callbacks_of(given: Any) -> list[keras.callbacks.Callback]:
    """Return callbacks as a list. Those of Keras that monitor a metric learn its direction from Kerora's table.

    Args:
        given: a callback, a list of callbacks, or None.

    Raises:
        ConfigError: one of them is no callback.
    """
    found = list(keras.tree.flatten(given)) if isinstance(given, list | tuple) else [] if given is None else [given]
    for callback in found:
        if not isinstance(callback, keras.callbacks.Callback):
            remedy = f" Write {callback.__name__}(...)." if isinstance(callback, type) else ""
            raise ConfigError(f"callbacks takes callbacks of Keras. Received: {shown(callback)}.{remedy}")
        # Keras knows only the directions of the metrics of `compile`, and would refuse the others after the start
        lower = is_lower_better(str(getattr(callback, "monitor", "")))
        if getattr(callback, "mode", None) == "auto" and lower is not None:
            callback.mode = "min" if lower else "max"
    return found


def progress_of(given: Any) -> Progress | None:
    """Return what shows the progress: True stands for `Progress()`, False for None.

    Raises:
        ConfigError: the value is something else.
    """
    if given is None or isinstance(given, Progress):
        return given
    if isinstance(given, bool):
        return Progress() if given else None
    raise ConfigError(f"progress must be True, False or kerora.callbacks.Progress(). Received: {shown(given)}")


def refuse_more(more: Sequence[Any], call: str) -> None:
    """Refuse texts and labels as two arguments, as scikit-learn takes them.

    Raises:
        ConfigError: there is a second argument.
    """
    if more:
        raise ConfigError(f"{call} takes one argument by position. Texts and labels are {call}(train=(texts, labels)).")
