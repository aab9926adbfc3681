"""LoRA on Keras layers: invariants that hold for every target, dtype and kind of layer."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.backend import import_keras_hub
from kerora.errors import ConfigError
from kerora.lora.inject import (
    disable_adapter,
    enable_lora,
    lora_layers,
    merge_lora,
    remove_lora,
    unmerge_lora,
)
from kerora.lora.layers import LoraEinsumDense

keras_hub = import_keras_hub()

TARGETS = [("query", "value"), ("query", "attention_output"), ("feedforward_*",), "all-linear"]


def small_backbone(dtype: str = "float32") -> Any:
    return keras_hub.models.DistilBertBackbone(
        vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=24, dropout=0.0,
        max_sequence_length=12, dtype=dtype,
    )  # fmt: skip


def batch(rows: int = 3, length: int = 8) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    mask = np.ones((rows, length), "int32")
    mask[0, 5:] = 0
    return {"token_ids": generator.integers(1, 50, (rows, length)), "padding_mask": mask}


def output(model: Any, inputs: Any) -> np.ndarray:
    with torch.no_grad():
        return model(inputs, training=False).float().numpy()


def randomise(model: Any, seed: int = 0) -> None:
    """Give B values, as training would."""
    generator = np.random.default_rng(seed)
    for layer in lora_layers(model):
        layer.update.b.assign(generator.normal(0, 0.2, layer.update.b.shape))


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fresh_adapter_changes_nothing_and_a_trained_one_merges(targets: Any, dtype: str) -> None:
    model, inputs = small_backbone(dtype), batch()
    base = output(model, inputs)
    kernels = [weight.value.detach().clone() for weight in model.weights]
    enable_lora(model, rank=4, alpha=8, targets=targets)
    assert np.array_equal(output(model, inputs), base)

    randomise(model)
    adapted = output(model, inputs)
    assert np.abs(adapted - base).max() > 0.05
    with disable_adapter(model):
        assert np.array_equal(output(model, inputs), base)

    merge_lora(model)
    merge_lora(model)  # a second merge must not add twice
    tolerance = 5e-6 if dtype == "float32" else 0.2  # bfloat16 keeps 8 bits; outputs are about 3
    assert np.abs(output(model, inputs) - adapted).max() < tolerance
    with pytest.raises(ConfigError, match="merged"), disable_adapter(model):
        pass
    unmerge_lora(model)
    assert np.array_equal(output(model, inputs), adapted)
    remove_lora(model)
    assert np.array_equal(output(model, inputs), base)
    assert all(torch.equal(weight.value, before) for weight, before in zip(model.weights, kernels, strict=True))


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("activation", [None, "linear", "gelu", "relu"])
def test_forward_equals_float64_hand_computation(activation: str | None) -> None:
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(7, activation=activation, name="dense")(inputs))
    enable_lora(model, rank=3, alpha=6, dropout=0.0, targets="dense")
    randomise(model)
    layer = model.get_layer("dense")
    x = np.random.default_rng(0).normal(size=(4, 5))
    w, bias = (np.asarray(v.numpy(), "float64") for v in (layer._kernel, layer.bias))
    a, b = (np.asarray(v.numpy(), "float64") for v in (layer.update.a, layer.update.b))
    expected = torch.tensor(x @ w + bias + (6 / 3) * (x @ a) @ b)
    if activation in ("gelu", "relu"):
        expected = getattr(torch.nn.functional, activation)(expected)
    assert layer.activation is keras.activations.get(activation)
    np.testing.assert_allclose(output(model, x.astype("float32")), expected.numpy(), atol=1e-5)


@pytest.mark.usefixtures("side")
def test_contracting_two_axes_is_one_matrix() -> None:
    inputs = keras.Input((4, 2, 3))
    layer = keras.layers.EinsumDense("abcd,cde->abe", output_shape=(None, 5), bias_axes="e", name="out")
    model = keras.Model(inputs, layer(inputs))
    enable_lora(model, rank=2, alpha=2, targets="out")
    randomise(model)
    x = np.random.default_rng(0).normal(size=(2, 4, 2, 3)).astype("float32")
    delta = (x.reshape(-1, 6) @ layer.update.a.numpy()) @ layer.update.b.numpy()
    with disable_adapter(model):
        base = output(model, x)
    np.testing.assert_allclose(output(model, x), base + delta.reshape(2, 4, 5), atol=1e-5)


def test_unusual_einsum_is_refused_and_leaves_the_model() -> None:
    inputs = keras.Input((4, 3))
    layer = keras.layers.EinsumDense("abc,bcd->abd", output_shape=(4, 5), name="odd")
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(ConfigError, match="einsum 'abc,bcd->abd'"):
        enable_lora(model, rank=2, targets="odd")
    assert type(layer) is keras.layers.EinsumDense
    assert all(variable.trainable for variable in model.weights)


def test_roberta_base_shapes_give_294912_parameters() -> None:
    """RoBERTa-base: 12 layers, 768 wide, 12 heads; query and value factorised over the flattened heads."""
    inputs = keras.Input((4, 768))
    outputs = []
    for _ in range(12):
        attention = keras.layers.MultiHeadAttention(num_heads=12, key_dim=64)
        outputs.append(attention(inputs, inputs))
    model = keras.Model(inputs, outputs)
    assert enable_lora(model, rank=8, targets=("query", "value")).lora == 294_912


def test_summary_counts_and_classes_of_other_layers() -> None:
    model = small_backbone()
    classes = {id(layer): type(layer) for layer in model._flatten_layers()}
    summary = enable_lora(model, rank=4, targets=("query",))
    assert summary.layers == (
        "transformer_layer_0/self_attention_layer/query",
        "transformer_layer_1/self_attention_layer/query",
    )
    assert summary.lora == summary.trainable == 2 * (16 * 4 + 4 * 16)
    assert str(summary).startswith(f"trainable 256 (LoRA 256) of {summary.total:,} (")
    changed = [layer for layer in model._flatten_layers() if type(layer) is not classes[id(layer)]]
    assert {type(layer) for layer in changed} == {LoraEinsumDense}
    assert all(isinstance(layer, keras.layers.EinsumDense) for layer in changed)
    assert len(changed) == 2


def test_a_is_kaiming_uniform_and_seeded() -> None:
    first, second, third = small_backbone(), small_backbone(), small_backbone()
    for model, seed in ((first, 5), (second, 5), (third, 6)):
        enable_lora(model, seed=seed)
    a, b, c = (lora_layers(model)[0].update.a.numpy() for model in (first, second, third))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert not np.array_equal(a, lora_layers(first)[1].update.a.numpy())
    assert np.abs(a).max() <= 1 / math.sqrt(16) and np.abs(a).max() > 0.8 / math.sqrt(16)
    assert not lora_layers(first)[0].update.b.numpy().any()


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("train_bias", [False, True])
def test_gradients_reach_only_the_adapter_and_the_head(train_bias: bool) -> None:
    backbone = small_backbone()
    head = keras.layers.Dense(2, name="logits")
    model = keras.Model(backbone.input, head(backbone.output[:, 0]))
    enable_lora(model, rank=2, targets=("query",), bias="lora_only" if train_bias else "none", head=["logits"])
    randomise(model)
    model(batch(), training=True).sum().backward()
    with_gradient = {variable.path for variable in model.weights if variable.value.grad is not None}
    expected = {v.path for layer in lora_layers(model) for v in (layer.update.a, layer.update.b)}
    expected |= {variable.path for variable in head.variables}
    if train_bias:
        expected |= {layer.bias.path for layer in lora_layers(model)}
    assert with_gradient == expected == {variable.path for variable in model.trainable_variables}


@pytest.mark.usefixtures("side")
def test_dropout_acts_on_the_low_rank_path_in_training_only() -> None:
    model, inputs = small_backbone(), batch()
    enable_lora(model, dropout=0.5, targets="all-linear", rank=4)
    randomise(model)
    with torch.no_grad():
        torch.manual_seed(0)
        first, second = (model(inputs, training=True).numpy() for _ in range(2))
        torch.manual_seed(0)
        again = model(inputs, training=True).numpy()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)
    assert np.array_equal(output(model, inputs), output(model, inputs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": ("qery",)}, r"Target 'qery' matches no layer\. Did you mean 'query'\? It has: .*value"),
        ({"targets": ()}, "No targets"),
        ({"rank": 0}, "1 or more. Received: 0"),
        ({"rank": -3}, "1 or more"),
        ({"rank": 2.5}, "a whole number.*2.5"),
        ({"alpha": -1.0}, "greater than 0. Received: -1.0"),
        ({"alpha": float("inf")}, "greater than 0"),
        ({"dropout": 2.0}, "less than 1. Received: 2.0"),
        ({"rank": 17}, r"Rank 17 exceeds .*query' \(16 x 16\)"),
        ({"head": ["nose"]}, "no layer 'nose'"),
    ],
)
def test_bad_input_is_refused_and_leaves_the_model(arguments: dict[str, Any], message: str) -> None:
    model = small_backbone()
    before = [(id(variable), variable.trainable) for variable in model.variables]
    with pytest.raises(ConfigError, match=message):
        enable_lora(model, **arguments)
    assert [(id(variable), variable.trainable) for variable in model.variables] == before
    assert not lora_layers(model)


def test_twice_and_on_top_of_keras_lora_is_refused() -> None:
    model = small_backbone()
    enable_lora(model)
    with pytest.raises(ConfigError, match="already"):
        enable_lora(model)
    native = small_backbone()
    native.enable_lora(4)
    with pytest.raises(ConfigError, match="Keras' own LoRA"):
        enable_lora(native)


@pytest.mark.parametrize("pattern", ["query", "*/query", "self_attention_layer/query", "transformer_layer_1/*/query"])
def test_target_patterns(pattern: str) -> None:
    expected = 1 if "layer_1" in pattern else 2
    assert len(enable_lora(small_backbone(), targets=pattern, rank=2).layers) == expected


def test_weight_files_hold_the_merged_model_and_load_into_plain_keras(tmp_path: Any) -> None:
    model, inputs = small_backbone(), batch()
    enable_lora(model, rank=4)
    randomise(model)
    adapted = output(model, inputs)
    model.save_weights(tmp_path / "model.weights.h5")
    assert np.array_equal(output(model, inputs), adapted), "saving must not change the model"
    plain = small_backbone()
    plain.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(output(plain, inputs), adapted, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"init": "pissa"}, {"use_rslora": True}])
def test_weight_files_hold_a_and_b_for_a_model_with_lora(tmp_path: Any, options: Any) -> None:
    model, inputs = small_backbone(), batch()
    enable_lora(model, rank=4, **options)
    randomise(model)
    adapted = output(model, inputs)
    model.save_weights(tmp_path / "model.weights.h5")
    other = small_backbone()
    enable_lora(other, rank=4, **options)
    other.load_weights(tmp_path / "model.weights.h5")
    assert np.array_equal(output(other, inputs), adapted)
    remove_lora(other)
    remove_lora(model)
    assert np.array_equal(output(other, inputs), output(model, inputs)), "the base must not change"


def test_weight_files_that_do_not_fit_a_model_with_lora_are_refused(tmp_path: Any) -> None:
    small_backbone().save_weights(tmp_path / "plain.weights.h5")
    model = small_backbone()
    enable_lora(model, rank=4)
    with pytest.raises(ValueError, match="holds no LoRA weights for layer"):  # Keras wraps the ConfigError
        model.load_weights(tmp_path / "plain.weights.h5")
    model.save_weights(tmp_path / "lora.weights.h5")
    other = small_backbone()
    enable_lora(other, rank=4, alpha=8)
    with pytest.raises(ValueError, match="another rank, alpha or variant"):
        other.load_weights(tmp_path / "lora.weights.h5")


def test_compile_is_asked_for_again_after_enable_lora() -> None:
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs))
    model.compile("adam", "mse")
    x, y = np.ones((4, 5), "float32"), np.ones((4, 3), "float32")
    model.fit(x, y, verbose=0)
    enable_lora(model, rank=2, targets="dense")
    with pytest.raises(ValueError, match="compile"):
        model.fit(x, y, verbose=0)
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("fit_first", [False, True])
def test_gradients_do_not_add_up_over_plain_keras_steps(fit_first: bool) -> None:
    """Two steps at learning rate 0 on one batch give equal gradients, also after an earlier fit."""
    backbone = small_backbone()
    model = keras.Model(backbone.input, keras.layers.Dense(2, name="logits")(backbone.output[:, 0]))
    x, y = batch(), np.array([0, 1, 1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if fit_first:
        model.compile(keras.optimizers.SGD(0.0), loss)
        model.fit(x, y, verbose=0)
    enable_lora(model, rank=2, dropout=0.0, head=["logits"])
    randomise(model)
    model.compile(keras.optimizers.SGD(0.0), loss)
    gradients = []
    for _ in range(2):
        model.fit(x, y, verbose=0, shuffle=False)
        gradients.append([variable.value.grad.clone() for variable in model.trainable_variables])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)
