"""Finds which of today's classes a serialized Keras object is, whichever version of KerasNLP or KerasHub wrote it.

KerasNLP became KerasHub, and several classes were renamed since (BertClassifier, Qwen2Tokenizer). KerasHub registers
every class under all names that it ever had, so its own register is asked instead of a list kept here.
"""

from collections.abc import Mapping
from typing import Any

import keras

from kerora.backend import import_keras_hub

keras_hub = import_keras_hub()

CLASS, REGISTERED = "class_name", "registered_name"


def registered_class(entry: Mapping[str, Any]) -> type | None:
    """Return the class that Keras makes of a serialized object, or None where KerasHub has none of that name.

    The registered name decides which class Keras imports, so it alone is looked at. Nothing is imported by name.

    Args:
        entry: what config.json, task.json or tokenizer.json holds.
    """
    name = entry.get(REGISTERED)
    found = keras.saving.get_registered_object(name) if isinstance(name, str) else None
    return found if isinstance(found, type) and found.__module__.startswith("keras_hub.") else None


def class_name(entry: Mapping[str, Any]) -> str:
    """Return today's name of a serialized object's class, or the one in the file where KerasHub does not know it."""
    found = registered_class(entry)
    return str(entry.get(CLASS)) if found is None else found.__name__


def is_classifier(entry: Mapping[str, Any]) -> bool:
    """Tell whether a serialized object is one of KerasHub's text classifiers."""
    found = registered_class(entry)
    return found is not None and issubclass(found, keras_hub.models.TextClassifier)
