"""What files call variables: the form of each tensor, and the way there and back."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from kerora.errors import AdapterError
from kerora.lora.inject import enable_lora
from kerora.lora.names import Names, Owned, TensorName, outputs_of

EINSUMS = {  # equation, shape of the kernel's outputs, axes of the kernel in the order of the matrix
    "abc,cde->abde": ((None, 2, 3), (4, 2, 3), (0, 1, 2)),
    "abcd,cde->abe": ((None, 5), (2, 3, 5), (0, 1, 2)),
    "abc,dce->abde": ((None, 2, 3), (2, 4, 3), (1, 0, 2)),
}


def built(layer: Any, *shape: int) -> Any:
    inputs = keras.Input(shape)
    keras.Model(inputs, layer(inputs))
    return layer


def owned(layer: Any, name: str, form: str) -> Owned:
    variable = layer.bias if name == "bias" else layer.kernel
    return Owned(variable, layer, TensorName("m", name, form))


@pytest.mark.parametrize("form", ["dense", "conv"])
@pytest.mark.parametrize("equation", EINSUMS)
def test_kernels_of_einsums_become_matrices_and_come_back(equation: str, form: str) -> None:
    output, kernel, order = EINSUMS[equation]
    inner = (2, 3) if equation.startswith("abcd") else (4,)
    layer = built(keras.layers.EinsumDense(equation, output_shape=output, bias_axes="e"), 6, *inner)
    value = np.random.default_rng(0).normal(size=kernel)
    inputs = int(np.prod(inner))
    matrix = value.transpose(order).reshape(inputs, -1)
    tensor = owned(layer, "weight", form)
    np.testing.assert_array_equal(tensor.to_file(value), matrix.T if form == "dense" else matrix)
    np.testing.assert_array_equal(tensor.from_file(tensor.to_file(value)), value)
    assert tensor.file_shape == (matrix.T if form == "dense" else matrix).shape
    assert outputs_of(layer) == matrix.shape[1]


def test_einsum_and_matrix_compute_the_same() -> None:
    for equation, (output, kernel, order) in EINSUMS.items():
        inner = (2, 3) if equation.startswith("abcd") else (4,)
        layer = built(keras.layers.EinsumDense(equation, output_shape=output), 6, *inner)
        value, x = (np.random.default_rng(seed).normal(size=size) for seed, size in ((0, kernel), (1, (2, 6, *inner))))
        layer.kernel.assign(value)
        found = x.reshape(2, 6, -1) @ owned(layer, "weight", "conv").to_file(value)
        direct = np.einsum(equation, x, value).reshape(found.shape)
        np.testing.assert_allclose(found, direct, atol=1e-12, err_msg=str(order))


def test_biases_are_flat_in_files_and_other_values_are_as_they_are() -> None:
    layer = built(keras.layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de"), 6, 4)
    bias = owned(layer, "bias", "dense")
    value = np.arange(6.0).reshape(2, 3)
    assert bias.file_shape == (6,)
    np.testing.assert_array_equal(bias.to_file(value), np.arange(6.0))
    np.testing.assert_array_equal(bias.from_file(np.arange(6.0)), value)
    embedding = built(keras.layers.Embedding(5, 3), 2)
    plain = Owned(embedding.embeddings, embedding, TensorName("m", "weight", "embedding"))
    table = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(plain.to_file(table), table)
    np.testing.assert_array_equal(plain.from_file(table), table)


def small_model(**names: TensorName) -> Any:
    """Return two dense layers and a norm; `names` are what transformers would call some variables."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="second")(keras.layers.LayerNormalization(name="n")(hidden)))
    if names:
        model.__dict__["tensor_names"] = {key.replace("__", "/"): value for key, value in names.items()}
    return model


def test_a_model_without_names_goes_by_its_paths() -> None:
    model = small_model()
    names = Names(model)
    assert [owned.name.key for owned in names] == [
        *("first.weight", "first.bias", "n.gamma", "n.beta", "second.weight", "second.bias"),
    ]
    assert [owned.file_shape for owned in names] == [(3, 4), (3,), (3,), (3,), (2, 3), (2,)]
    assert list(names.adaptable()) == ["first", "second"]
    assert names.with_key("third.weight") == []


def test_updates_are_no_variables_of_the_model_itself() -> None:
    model = small_model()
    before = [owned.name for owned in Names(model)]
    enable_lora(model, rank=2, targets="first", use_dora=True)
    assert [owned.name for owned in Names(model)] == before


def test_parts_of_a_tensor_come_in_their_order_whatever_the_models() -> None:
    model = small_model(
        first__kernel=TensorName("c", "weight", "conv", (1, 2)),
        second__kernel=TensorName("c", "weight", "conv", (0, 2)),
        first__bias=TensorName("c", "bias", "conv", (1, 2)),
    )
    names = Names(model)
    assert [owned.layer.name for owned in names.with_key("c.weight")] == ["second", "first"]
    assert [layer.name for layer in names.adaptable()["c"]] == ["second", "first"]
    assert names.of_layer(model.get_layer("first")).part == (1, 2)
    assert list(Names(model, keras_paths=True).adaptable()) == ["first", "second"]


def test_what_a_file_cannot_hold_is_told_with_the_way_out() -> None:
    model = small_model(first__kernel=TensorName("c", "weight", "dense"))
    names = Names(model)
    with pytest.raises(AdapterError) as caught:
        names.of(model.get_layer("n").gamma)
    assert str(caught.value) == (
        "'n/gamma' has no counterpart in transformers, so that an adapter file cannot hold it. "
        "Do not train it, or use --method full."
    )
    with pytest.raises(KeyError):
        names.of(SimpleNamespace(path="no/such"))
