"""What stands behind each name for a private attribute, on real layers of Keras."""

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import optuna
import pytest
import torch

from kerora import compat


def model() -> Any:
    inputs = keras.Input((4,))
    hidden = keras.layers.LayerNormalization(epsilon=1e-3, name="n")(keras.layers.Dense(3, name="first")(inputs))
    return keras.Model(inputs, keras.layers.Dense(2, name="second")(hidden))


def test_layers_inside_a_layer() -> None:
    found = model()
    inside = compat.flatten_layers(found, include_self=False)
    assert compat.flatten_layers(found) == [found, *inside]
    assert {layer.name for layer in inside} >= {"first", "n", "second"}


def test_kernels_and_own_variables() -> None:
    found = model()
    first, norm = found.get_layer("first"), found.get_layer("n")
    assert compat.kernel_of(first) is first.weights[0] and compat.has_kernel(first)
    assert not compat.has_kernel(norm) and not compat.has_kernel(object())
    assert compat.own_variables(found) == [] and len(compat.own_variables(norm)) == 2
    first.trainable = False
    assert [variable.path for variable in compat.own_variables(first)] == ["first/kernel", "first/bias"]


def test_a_built_layer_takes_and_loses_weights_inside_the_block_alone() -> None:
    layer = model().get_layer("first")
    with compat.changing_weights(layer):
        extra = layer.add_weight(shape=(2,), name="extra")
    assert extra in layer.weights
    with pytest.raises(ValueError, match="cannot add new elements"):
        layer.add_weight(shape=(2,), name="other")
    with pytest.raises(RuntimeError, match="stop"), compat.changing_weights(layer):
        compat.untrack(layer, [extra])
        raise RuntimeError("stop")
    assert all(weight is not extra for weight in layer.weights) and len(layer.weights) == 2
    with pytest.raises(ValueError, match="cannot add new elements"):
        layer.add_weight(shape=(2,), name="other")


def test_a_variable_points_at_another_tensor_and_path() -> None:
    found = model()
    bias = found.get_layer("first").bias
    tensor = torch.nn.Parameter(torch.arange(5.0), requires_grad=False)
    compat.point_at(bias, tensor)
    assert bias.value is tensor and tuple(bias.shape) == (5,)
    compat.rename(bias, "a/b")
    assert bias.path == "a/b"


def test_torch_makes_its_lists_of_parameters_anew() -> None:
    found = model()
    before = len(list(found.parameters()))
    compat.forget_torch_parameters(found)
    assert not any(hasattr(layer, "_torch_params") for layer in compat.flatten_layers(found))
    assert len(list(found.parameters())) == before


def test_weight_decay_and_the_mean_loss() -> None:
    found = model()
    optimizer = keras.optimizers.AdamW(0.0, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    found.compile(optimizer, "mse")
    x, y = np.ones((4, 4), "float32"), np.zeros((4, 2), "float32")
    history = found.fit(x, y, verbose=0).history
    assert float(compat.loss_tracker(found).result()) == pytest.approx(history["loss"][-1])
    decayed = {variable.path for variable in found.trainable_variables if compat.is_decayed(optimizer, variable)}
    assert decayed == {"first/kernel", "second/kernel", "n/gamma", "n/beta"}


def test_an_epsilon_is_set_where_there_is_one() -> None:
    norm, private, other = model().get_layer("n"), SimpleNamespace(_epsilon=1.0), SimpleNamespace(epsilon="text")
    for layer in (norm, private, other):
        compat.set_norms_epsilon(layer, 0.5)
    assert (norm.epsilon, private._epsilon, other.epsilon) == (0.5, 0.5, "text")
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    wide = x.astype("float64")
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 0.5)
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, atol=1e-6)


def test_masks_and_caches_of_decoders_by_either_name() -> None:
    for name in compat.MASK_METHODS:
        assert compat.mask_method(type("Decoder", (), {name: None})) == name
    assert compat.mask_method(keras.layers.Dense) is None
    plain = SimpleNamespace(_build_cache=lambda token_ids: ("hidden", f"cache of {token_ids}"))
    more = SimpleNamespace(_build_cache=lambda token_ids, images, audio: (images, (token_ids, audio)))
    assert compat.build_cache(plain, "ids") == "cache of ids" and compat.build_cache(more, "ids") == ("ids", None)


@pytest.mark.parametrize(("answers", "found"), [((True, False), True), ((False, True), True), ((False, False), False)])
def test_either_instruction_makes_bfloat16(answers: tuple[bool, bool], found: bool) -> None:
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    cpu = SimpleNamespace(**{name: lambda answer=answer: answer for name, answer in zip(names, answers, strict=True)})
    assert compat.cpu_computes_bfloat16(cpu) is found
    assert compat.cpu_computes_bfloat16(SimpleNamespace()) is False, "a torch without the probes"
    assert isinstance(compat.cpu_computes_bfloat16(torch.cpu), bool)


def test_all_trials_of_a_study_with_their_ids() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    trials = compat.trials_of(study)
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert len({compat.trial_id(trial) for trial in trials}) == 3
