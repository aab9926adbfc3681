"""Finds the current class of a serialized Keras object that any version of KerasNLP or KerasHub wrote.

KerasNLP became KerasHub, and several classes have new names (BertClassifier, Qwen2Tokenizer). KerasHub registers each
class under all its names, so this module asks that registry and needs no list of its own.
"""

from collections.abc import Mapping
from typing import Any

import keras

from kerora.backend import import_keras_hub

keras_hub = import_keras_hub()

CLASS, REGISTERED = "class_name", "registered_name"


def registered_class(entry: Mapping[str, Any]) -> type | None:
    """Return the class that Keras uses for a serialized object, or None if KerasHub has no class of that name.

    Only the registered name is read, because it decides which class Keras uses. Nothing is imported by name.

    Args:
        entry: content of config.json, task.json or tokenizer.json.
    """
    name = entry.get(REGISTERED)
    found = keras.saving.get_registered_object(name) if isinstance(name, str) else None
    # The registry also holds functions and the classes of users.
    return found if isinstance(found, type) and found.__module__.startswith("keras_hub.") else None


def class_name(entry: Mapping[str, Any]) -> str:
    """Return the current class name of a serialized object, or the name in the file if KerasHub does not know it."""
    found = registered_class(entry)
    return str(entry.get(CLASS)) if found is None else found.__name__


def is_classifier(entry: Mapping[str, Any]) -> bool:
    """Tell whether a serialized object is a text classifier of KerasHub."""
    found = registered_class(entry)
    return found is not None and issubclass(found, keras_hub.models.TextClassifier)
