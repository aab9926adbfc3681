"""Adapters by name on a plain Keras model: switched and mixed, each as it was alone; faults change nothing."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.errors import AdapterError, ConfigError
from kerora.lora.adapters import Adapters
from kerora.lora.files import save_adapter
from kerora.lora.inject import enable_lora, lora_layers, merge_lora

X = np.random.default_rng(5).normal(size=(4, 6)).astype("float32")


def base() -> Any:
    """Return the same small model each time."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(5, activation="relu", name="first")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="second")(hidden))


def output(model: Any) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(model(X, training=False))


def adapted(seed: int, **options: Any) -> Any:
    model = base()
    enable_lora(model, **{"rank": 2, "alpha": 4, "dropout": 0.0, "targets": "all-linear", **options})
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(0, 0.5, variable.shape))
    return model


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"targets": "first"},
    "wider": {"rank": 3, "alpha": 1.5},
    "dora": {"targets": "second", "use_dora": True},
    "biases": {"bias": "all"},
}


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, np.ndarray]:
    """Save each variant under its name; return what each computes."""
    outputs = {}
    for seed, (name, options) in enumerate(VARIANTS.items()):
        model = adapted(seed, **options)
        save_adapter(model, tmp_path / name)
        outputs[name] = output(model)
    return outputs


def test_each_adapter_computes_as_it_did_alone(saved: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = base()
    plain, adapters = output(model), Adapters(model)
    for name in saved:
        adapters.load(tmp_path / name, name)
        assert np.array_equal(output(model), plain), "loading does not switch"
    for name in [*saved, None, *reversed(saved)]:
        adapters.activate(name)
        np.testing.assert_allclose(output(model), plain if name is None else saved[name], atol=1e-6)
    adapters.activate(None)
    assert np.array_equal(output(model), plain) and model.trainable_variables == []


def test_rows_of_a_batch_each_have_their_adapter(saved: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = base()
    plain, adapters = output(model), Adapters(model)
    for name in saved:
        adapters.load(tmp_path / name, name)
    names = ["dora", None, "biases", "wider"]
    with adapters.mixed(names):
        found = output(model)
    for row, name in enumerate(names):
        np.testing.assert_allclose(found[row], (plain if name is None else saved[name])[row], atol=1e-5)
    assert np.array_equal(output(model), plain), "the block leaves no trace"
    with pytest.raises(ConfigError, match=r"adapter names 3 rows, but 'first' gets 4\."), adapters.mixed(names[:3]):
        output(model)
    assert np.array_equal(output(model), plain)


def test_faults_name_what_there_is_and_change_nothing(saved: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = adapted(9)
    own, adapters = output(model), Adapters(model)
    adapters.load(tmp_path / "plain", "plain")
    for name in ("plain", "default", ""):
        with pytest.raises(ConfigError, match=rf"^There is an adapter '{name}' already\. Choose another name\.$"):
            adapters.load(tmp_path / "wider", name)
    with pytest.raises(ConfigError, match=r"^There is no adapter 'x'\. Loaded: 'default', 'plain'\.$"):
        adapters.activate("x")
    with pytest.raises(ConfigError, match="There is no adapter 'y'"), adapters.mixed(["plain", "y"]):
        pass
    (tmp_path / "wider" / "adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        adapters.load(tmp_path / "wider", "wider")
    assert adapters.active == "default" and np.array_equal(output(model), own)
    with pytest.raises(ConfigError, match=r"Loaded: none"):
        Adapters(base()).activate("x")


def test_merged_updates_must_be_taken_out_first() -> None:
    model = adapted(1)
    merge_lora(model)
    with pytest.raises(ConfigError, match=r"^The LoRA updates are merged\. Call model\.unmerge\(\) first\.$"):
        Adapters(model)


def test_only_the_active_adapters_weights_train(saved: dict[str, np.ndarray], tmp_path: Path) -> None:
    model = adapted(9)
    adapters = Adapters(model)
    before = {variable.path for variable in model.trainable_variables}
    adapters.load(tmp_path / "biases", "b")
    adapters.activate("b")
    trained = [variable.name for variable in model.trainable_variables]
    assert trained.count("bias") == 2 and len(lora_layers(model)) == 2
    adapters.activate("default")
    assert {variable.path for variable in model.trainable_variables} == before
