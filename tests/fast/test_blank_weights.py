"""Weights that files replace are not drawn, and nothing that is drawn later changes."""

from pathlib import Path

import keras
import numpy as np
import pytest

from kerora.backend import set_random_seed
from kerora.fast.blank_weights import draw, without_drawing
from kerora.models.presets import find_preset
from tests.tiny_huggingface import tiny_huggingface

INITIALIZERS = (
    *("RandomNormal", "TruncatedNormal", "RandomUniform", "VarianceScaling", "Orthogonal"),
    *("GlorotUniform", "GlorotNormal", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"),
)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_inside_the_block_random_weights_are_zero(name: str) -> None:
    with without_drawing():
        layer = keras.layers.Dense(3, kernel_initializer=name)
        layer.build((None, 4))
    assert not np.array(layer.kernel).any()
    again = keras.layers.Dense(3, kernel_initializer=name)
    again.build((None, 4))
    assert np.array(again.kernel).any()


def test_an_error_ends_the_block() -> None:
    with pytest.raises(RuntimeError), without_drawing():
        raise RuntimeError
    assert np.array(keras.initializers.GlorotUniform()((3, 3))).any()


def test_what_is_drawn_later_is_the_same() -> None:
    kernels = []
    for blank in (False, True):
        set_random_seed(7)
        first = keras.layers.Dense(3)
        if blank:
            with without_drawing():
                first.build((None, 4))
            draw(first)
        else:
            first.build((None, 4))
        second = keras.layers.Dense(3)
        second.build((None, 4))
        kernels.append([np.array(layer.kernel) for layer in (first, second)])
    for expected, found in zip(*kernels, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_preset_is_opened_without_drawing(tiny_preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a weight was drawn")

    folder = tiny_huggingface("bert", tmp_path / "bert")
    monkeypatch.setattr("keras.src.backend.random.truncated_normal", refuse)
    for path in (tiny_preset, folder):
        backbone = find_preset(str(path)).load_backbone("float32")
        assert all(np.array(variable).any() for variable in backbone.weights if "kernel" in variable.path)
