"""The tensors of adapter files: several layers as one block-diagonal update, computed again in float64."""

import math
from typing import Any

import keras
import numpy as np
import pytest

from kerora.lora.entries import PREFIX, stored_alpha, stored_rank, stored_updates, update_entries, variable_entry
from kerora.lora.inject import enable_lora, lora_layers
from kerora.lora.names import Names, TensorName

WIDTHS = {"query": 6, "key": 3, "value": 4}


def fused_model() -> Any:
    """Return query, key and value of different widths, which files hold side by side as ``h.attn``."""
    inputs = keras.Input((5,))
    model = keras.Model(inputs, [keras.layers.Dense(width, name=name)(inputs) for name, width in WIDTHS.items()])
    model.__dict__["tensor_names"] = {
        f"{layer}/{ours}": TensorName("h.attn", theirs, "conv", (number, 3))
        for number, layer in enumerate(WIDTHS)
        for ours, theirs in (("kernel", "weight"), ("bias", "bias"))
    }
    return model


def adapted(**options: Any) -> tuple[Any, Names, list[Any]]:
    model = fused_model()
    enable_lora(model, **{"rank": 2, "alpha": 6.0, "dropout": 0.0, **options})
    randomise(model, 0)
    return model, Names(model), lora_layers(model)


def randomise(model: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for layer in lora_layers(model):
        for variable in layer.update.variables:
            variable.assign(generator.normal(1.0, 0.4, variable.shape))


def delta(layer: Any) -> np.ndarray:
    """Return the change of a kernel in float64, (in, out)."""
    update = layer.update
    a, b = (np.asarray(variable.numpy(), np.float64) for variable in (update.a, update.b))
    scale = update.alpha / (math.sqrt(update.rank) if update.use_rslora else update.rank)
    if update.start is None:
        return scale * a @ b
    first_a, first_b = (np.asarray(value, np.float64) for value in update.start)
    return scale * (a @ b - first_a @ first_b)


VARIANTS: dict[str, dict[str, Any]] = {
    "all three": {"targets": ("query", "key", "value")},
    "two of three": {"targets": ("query", "value")},
    "the last alone": {"targets": ("value",)},
    "other ranks": {"targets": ("query", "value"), "rank_pattern": {"value": 4}, "alpha_pattern": {"query": 1.5}},
    "rslora": {"targets": ("query", "value"), "use_rslora": True, "rank_pattern": {"query": 3}},
    "pissa": {"targets": ("query", "value"), "init": "pissa"},
    "pissa and rslora": {"targets": ("key", "value"), "init": "pissa", "use_rslora": True},
    "dora": {"targets": ("query", "value"), "use_dora": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_file_holds_computes_what_the_layers_do(variant: str) -> None:
    model, names, layers = adapted(**VARIANTS[variant])
    (stored,) = stored_updates(model, names, layers)
    entries = {entry.key: entry for entry in update_entries(stored)}
    a, b = (np.asarray(entries[f"{PREFIX}h.attn.lora_{one}.weight"].read(), np.float64) for one in "AB")
    scale = stored.alpha / (math.sqrt(stored.rank) if layers[0].update.use_rslora else stored.rank)
    parts = [
        next((delta(layer) for layer in layers if layer.name == name), np.zeros((5, WIDTHS[name]))) for name in WIDTHS
    ]
    np.testing.assert_allclose(scale * (b @ a).T, np.concatenate(parts, axis=1), atol=1e-5)
    assert stored.rank == sum(stored_rank(layer.update) for layer in layers)
    for entry in entries.values():
        assert entry.read().shape == entry.shape and entry.read().flags.c_contiguous
        assert entry.read().dtype == np.float32


@pytest.mark.parametrize("variant", [name for name in VARIANTS if "pissa" not in name])
def test_a_model_reads_back_what_another_wrote(variant: str) -> None:
    model, names, layers = adapted(**VARIANTS[variant])
    (stored,) = stored_updates(model, names, layers)
    other, other_names, other_layers = adapted(**VARIANTS[variant])
    randomise(other, 7)
    (target,) = stored_updates(other, other_names, other_layers)
    for mine, its in zip(update_entries(stored), update_entries(target), strict=True):
        assert mine.key == its.key and its.problem(mine.read()) is None
        its.assign(mine.read())
    for mine, its in zip(layers, other_layers, strict=True):
        for ours, theirs in zip(mine.update.variables, its.update.variables, strict=True):
            np.testing.assert_allclose(theirs.numpy(), ours.numpy(), rtol=1e-6)


def test_values_outside_the_blocks_are_refused_and_no_others() -> None:
    model, names, layers = adapted(**VARIANTS["two of three"])
    (stored,) = stored_updates(model, names, layers)
    entry = next(entry for entry in update_entries(stored) if "lora_B" in entry.key)
    inside = entry.read() != 0
    assert inside.sum() == 2 * (WIDTHS["query"] + WIDTHS["value"])
    for row, column in np.argwhere(~inside)[::7]:
        value = entry.read()
        value[row, column] = 1e-30
        assert entry.problem(value) == "mixes layers that are apart in Keras"
    assert entry.problem(np.where(inside, 5.0, 0.0)) is None


def test_the_magnitude_of_a_layer_without_update_is_its_columns_norm() -> None:
    model, names, layers = adapted(**VARIANTS["dora"])
    (stored,) = stored_updates(model, names, layers)
    entry = next(entry for entry in update_entries(stored) if "magnitude" in entry.key)
    kernel = np.asarray(model.get_layer("key").kernel.numpy(), np.float64)
    value = entry.read()
    np.testing.assert_allclose(value[6:9], np.linalg.norm(kernel, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(value[:6], layers[0].update.magnitude.numpy())
    np.testing.assert_array_equal(value[9:], layers[1].update.magnitude.numpy())


def test_rank_and_alpha_of_one_layer_give_its_scale() -> None:
    for options in ({}, {"use_rslora": True}, {"init": "pissa"}, {"init": "pissa", "use_rslora": True}):
        _, _, (layer, *_) = adapted(targets=("query",), **options)
        update = layer.update
        rank, alpha = stored_rank(update), stored_alpha(update)
        root = math.sqrt(rank) if "use_rslora" in options else rank
        assert alpha / root == pytest.approx(update.scale) and rank == (4 if "init" in options else 2)


def test_variables_side_by_side_are_joined_and_parted_in_the_order_of_the_file() -> None:
    model = fused_model()
    names = Names(model)
    values = {name: np.random.default_rng(width).normal(size=(5, width)) for name, width in WIDTHS.items()}
    for name, value in values.items():
        model.get_layer(name).kernel.assign(value)
    entry = variable_entry("h.attn.weight", names.with_key("h.attn.weight"))
    assert entry.shape == (5, 13)
    np.testing.assert_array_equal(entry.read(), np.concatenate(list(values.values()), axis=1).astype(np.float32))
    given = np.arange(65, dtype=np.float32).reshape(5, 13)
    entry.assign(given)
    np.testing.assert_array_equal(model.get_layer("key").kernel.numpy(), given[:, 6:9])
    np.testing.assert_array_equal(entry.read(), given)
    bias = variable_entry("h.attn.bias", names.with_key("h.attn.bias"))
    bias.assign(np.arange(13, dtype=np.float32))
    np.testing.assert_array_equal(model.get_layer("value").bias.numpy(), [9, 10, 11, 12])
