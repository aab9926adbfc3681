"""Keras lists the attributes without weights once for each kind of object."""

import pytest
from keras.src.saving import saving_lib

from kerora.fast.saving import remember_attributes

KINDS = ("Layer", "Functional", "Sequential", "Metric", "Optimizer", "Loss")


@pytest.fixture
def original(monkeypatch: pytest.MonkeyPatch) -> object:
    """Keras as it is without Kerora."""
    function = getattr(saving_lib.get_attr_skipset, "__wrapped__", saving_lib.get_attr_skipset)
    monkeypatch.setattr(saving_lib, "get_attr_skipset", function)
    return function


def test_the_lists_are_those_of_keras_and_are_made_once(original: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERORA_PLAIN", "0")
    wanted = [saving_lib.get_attr_skipset(kind) for kind in KINDS]
    for _ in range(2):
        remember_attributes()
    assert [saving_lib.get_attr_skipset(kind) for kind in KINDS] == wanted
    assert saving_lib.get_attr_skipset("Layer") is saving_lib.get_attr_skipset("Layer")
    assert saving_lib.get_attr_skipset.__wrapped__ is original  # type: ignore[attr-defined]


def test_the_plain_side_leaves_keras_alone(original: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERORA_PLAIN", "1")
    remember_attributes()
    assert saving_lib.get_attr_skipset is original
