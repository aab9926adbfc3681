"""Loads and saves the weights of Keras models faster."""

import functools
import importlib
from typing import Any

from kerora.fast.switch import is_plain


def remember_attributes() -> None:
    """Make Keras list the attributes that hold no weights once, and not again for each layer of a model.

    Keras 3.15 and 3.16 mean to do so, but `get_attr_skipset` stores the list under another name than it looks up. It
    then builds a layer for each list, which takes a tenth of the time of loading the bundled preset.
    """
    saving: Any = importlib.import_module("keras.src.saving.saving_lib")
    function = getattr(saving, "get_attr_skipset", None)
    if function is not None and not is_plain() and not hasattr(function, "cache_clear"):
        saving.get_attr_skipset = functools.cache(function)
