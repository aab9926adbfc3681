"""Weight files of Keras presets: shards, quantised weights, and LoRA files of Keras merged in float64 by hand."""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from kerora.errors import PresetError
from kerora.models.keras_weights import (
    has_keras_weights,
    holds_quantized,
    listed_shards,
    merge_keras_lora,
    quantized_mode,
)


def test_shards_are_listed_once_and_all_must_be_there(tmp_path: Path) -> None:
    places = {"/a": "one.h5", "/b": ["two.h5", "one.h5"], "/c": "../../etc/three.h5"}
    (tmp_path / "model.weights.json").write_text(json.dumps({"weight_map": places}))
    assert listed_shards(tmp_path) == ["one.h5", "three.h5", "two.h5"], "no way out of the folder"
    for name in listed_shards(tmp_path):
        assert not has_keras_weights(tmp_path)
        (tmp_path / name).write_bytes(b"")
    assert has_keras_weights(tmp_path)
    (tmp_path / "model.weights.json").unlink()
    assert not has_keras_weights(tmp_path)
    (tmp_path / "model.weights.h5").write_bytes(b"")
    assert has_keras_weights(tmp_path)


@pytest.mark.parametrize("places", [None, [], "one.h5", {"/a": 3}, {"/a": ["one.h5", None]}, {"/a": {"b": "c"}}])
def test_a_damaged_list_of_shards_is_told(places: Any, tmp_path: Path) -> None:
    (tmp_path / "model.weights.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(PresetError, match=r"json is damaged: it lists no weight files\. Save or download the preset"):
        listed_shards(tmp_path)


def policy(mode: Any) -> dict[str, Any]:
    return {"class_name": "QuantizedDTypePolicy", "config": {"mode": mode, "source_name": "float32"}}


@pytest.mark.parametrize(
    ("dtype", "mode"),
    [
        *((name, None) for name in ("float32", "bfloat16", "mixed_float16", "", None, 7, [])),
        *(("int8_from_float32", "int8"), ("int4_from_mixed_bfloat16", "int4"), ("gptq_from_x", "gptq")),
        *((policy("int8"), "int8"), (policy(None), None), ({"config": {"name": "float32"}}, None)),
        ({"class_name": "DTypePolicyMap", "config": {"policy_map": {"a": "float32", "b": policy("float8")}}}, "float8"),
    ],
)
def test_the_mode_of_a_policy(dtype: Any, mode: str | None) -> None:
    assert quantized_mode({"config": {"dtype": dtype}}) == mode
    assert quantized_mode({"config": dtype}) is None or isinstance(dtype, dict)
    assert quantized_mode({}) is None


def test_integers_in_a_weight_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    for dtype, shape, found in (("int8", (2, 3), True), ("uint8", (2, 2), True), ("int8", (3,), False)):
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/dense/vars/0", data=np.zeros(shape, dtype))
            file.create_dataset("layers/dense/vars/1", data=np.zeros((2, 2), "float32"))
        assert holds_quantized(path) is found
    path.write_bytes(b"no HDF5")
    assert not holds_quantized(path) and not holds_quantized(tmp_path / "none.h5")


def backbone() -> keras.Model:
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(6, name="first")(keras.layers.Activation("relu", name="no_weights")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3, name="second")(keras.layers.LayerNormalization(name="n")(hidden)))


def write_lora(path: Path, arrays: dict[str, tuple[Any, Any]]) -> Path:
    with h5py.File(path, "w") as file:
        for place, pair in arrays.items():
            group = file.create_group(f"lora/{place}/vars")
            for name, value in zip("ab", pair, strict=True):
                group.create_dataset(f"lora_kernel_{name}", data=value)
    return path


def test_a_lora_file_is_added_to_the_layers_that_it_counts(tmp_path: Path) -> None:
    model, generator = backbone(), np.random.default_rng(0)
    before = [np.asarray(weight.numpy(), np.float64) for weight in model.weights]
    first = generator.normal(size=(4, 2)), generator.normal(size=(2, 6))
    second = generator.normal(size=(6, 1)), generator.normal(size=(1, 3))
    # the places count the layers with weights: first, n, second
    merge_keras_lora(model, write_lora(tmp_path / "a.lora.h5", {"0": first, "2": second}))
    changes = [first[0] @ first[1], 0, 0, 0, second[0] @ second[1], 0]
    for weight, old, change in zip(model.weights, before, changes, strict=True):
        np.testing.assert_allclose(weight.numpy(), old + change, atol=1e-5, err_msg=weight.path)


ONES = np.ones((4, 2)), np.ones((2, 6))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"9": ONES},
            "does not fit the backbone in its folder: its layer 9 has the shape (4, 6). Put it into",
        ),
        ({"1": ONES}, "does not fit the backbone in its folder: its layer 1 has the shape (4, 6)"),
        (
            {"0": (np.ones((4, 2)), np.ones((2, 5)))},
            "does not fit the backbone in its folder: its layer 0 has the shape",
        ),
        ({"0": (np.ones((4, 2)), np.ones((3, 6)))}, "cannot be read as a LoRA file of Keras: "),
        ({"0": (np.ones((4, 2)), 1.0)}, "cannot be read as a LoRA file of Keras: "),
        ({"0": (np.ones((4, 2)), "text")}, "cannot be read as a LoRA file of Keras: "),
        ({}, "cannot be read as a LoRA file of Keras: "),
        ({"x": ONES}, "holds no layer. Save it again with Backbone.save_lora_weights."),
    ],
)
def test_lora_files_that_do_not_fit_change_nothing(arrays: Any, message: str, tmp_path: Path) -> None:
    model, path = backbone(), write_lora(tmp_path / "a.lora.h5", arrays)
    before = [weight.numpy().tobytes() for weight in model.weights]
    with pytest.raises(PresetError) as caught:
        merge_keras_lora(model, path)
    assert str(caught.value).startswith(f"{path} {message}") and "\n" not in str(caught.value)
    assert [weight.numpy().tobytes() for weight in model.weights] == before
