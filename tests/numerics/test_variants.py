"""The variants of LoRA against their papers' formulas in float64, and against PEFT in training."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.errors import ConfigError
from kerora.lora.inject import (
    disable_adapter,
    enable_lora,
    lora_layers,
    merge_lora,
    remove_lora,
    train_full,
    train_head,
    unmerge_lora,
)
from kerora.lora.select import layer_path
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.training.loop import LoraPlusAdamW
from tests.tiny_huggingface import tiny_huggingface

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")


def dense(use_bias: bool = True, units: int = 7, inputs: int = 5) -> keras.Model:
    keras.utils.set_random_seed(3)
    tensor = keras.Input((inputs,))
    return keras.Model(tensor, keras.layers.Dense(units, use_bias=use_bias, name="dense")(tensor))


def float64(*variables: Any) -> list[np.ndarray]:
    return [np.asarray(variable.numpy(), "float64") for variable in variables]


def output(model: keras.Model, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(x.astype("float32"), training=False).numpy()


def randomise(model: keras.Model) -> None:
    generator = np.random.default_rng(1)
    for layer in lora_layers(model):
        for variable in layer.update.variables:
            variable.assign(variable.numpy() + generator.normal(0, 0.3, variable.shape))


X = np.random.default_rng(0).normal(size=(4, 5))


@pytest.mark.usefixtures("side")
def test_rslora_divides_by_the_root_of_the_rank() -> None:
    model = dense()
    enable_lora(model, rank=4, alpha=6, dropout=0.0, targets="dense", use_rslora=True)
    randomise(model)
    layer = model.get_layer("dense")
    w, b, low, high = float64(layer._kernel, layer.bias, layer.update.a, layer.update.b)
    np.testing.assert_allclose(output(model, X), X @ w + b + 6 / math.sqrt(4) * X @ low @ high, atol=1e-5)


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("use_bias", [True, False])
def test_dora_scales_columns_to_the_magnitude(use_bias: bool) -> None:
    """W' = m (W + s A B) / ||W + s A B|| by column, eq. 5 of the paper."""
    model = dense(use_bias)
    before = output(model, X)
    enable_lora(model, rank=3, alpha=6, dropout=0.0, targets="dense", use_dora=True)
    assert np.array_equal(output(model, X), before), "B = 0 and m = ||W|| change nothing"
    randomise(model)
    layer = model.get_layer("dense")
    w, low, high, m = float64(layer._kernel, layer.update.a, layer.update.b, layer.update.magnitude)
    direction = w + 2 * low @ high
    expected = X @ (direction * m / np.linalg.norm(direction, axis=0)) + (float64(layer.bias)[0] if use_bias else 0)
    np.testing.assert_allclose(output(model, X), expected, atol=1e-5)
    merge_lora(model)
    np.testing.assert_allclose(output(model, X), expected, atol=1e-5)
    unmerge_lora(model)
    with disable_adapter(model):
        assert np.array_equal(output(model, X), before)


@pytest.mark.usefixtures("side")
def test_pissa_starts_from_the_largest_singular_vectors() -> None:
    model = dense()
    before, kernel = output(model, X), model.get_layer("dense")._kernel.numpy()
    enable_lora(model, rank=2, alpha=6, dropout=0.0, targets="dense", init="pissa")
    layer = model.get_layer("dense")
    left, values, right = np.linalg.svd(kernel.astype("float64"))
    product = layer.update.scale * layer.update.a.numpy() @ layer.update.b.numpy()
    np.testing.assert_allclose(product, left[:, :2] * values[:2] @ right[:2], atol=1e-5)
    assert np.array_equal(layer._kernel.numpy(), kernel), "the base stays the base"
    np.testing.assert_allclose(output(model, X), before, atol=1e-5)
    randomise(model)
    adapted = output(model, X)
    residual = kernel - product
    changed = residual + layer.update.scale * layer.update.a.numpy() @ layer.update.b.numpy()
    np.testing.assert_allclose(adapted, X @ changed + layer.bias.numpy(), atol=1e-5)
    merge_lora(model)
    np.testing.assert_allclose(output(model, X), adapted, atol=1e-5)
    remove_lora(model)
    assert np.array_equal(output(model, X), before)


CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rslora": ({"use_rslora": True}, {"use_rslora": True}),
    "dora": ({"use_dora": True}, {"use_dora": True}),
    "pissa": ({"init": "pissa"}, {"init_lora_weights": "pissa"}),
    "bias": ({"bias": "lora_only"}, {"bias": "lora_only"}),
    "patterns": (
        {"rank_pattern": {"query": 2}, "alpha_pattern": {"value": 3}},
        {"rank_pattern": {"q_lin": 2}, "alpha_pattern": {"v_lin": 3}},
    ),
    "a layer": ({"layers": "last:1"}, {"layers_to_transform": [1]}),
    "lora+": ({}, {}),
}


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("name", CONFIGS)
def test_ten_steps_equal_peft(name: str, tmp_path: Path) -> None:
    """Same start, batches and optimizer: the same losses, and so the same gradients of every part."""
    folder = tiny_huggingface("distil_bert", tmp_path / "base", initializer_range=0.15)
    mine, their = CONFIGS[name]
    settings = peft.LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q_lin", "v_lin"], **their
    )
    off = dict.fromkeys(("attention_dropout", "dropout", "seq_classif_dropout"), 0.0)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3, **off)
    theirs = peft.get_peft_model(base, settings).train()
    ours = TextClassifier.from_preset(str(folder), 3, max_length=16, head_dropout=0.0, seed=0)
    enable_lora(ours, rank=4, alpha=8, dropout=0.0, **mine)
    for layer in ours.head_layers:
        module = getattr(base, {"pooled_dense": "pre_classifier", "logits": "classifier"}[layer.name])
        module = module.modules_to_save["default"]
        layer.set_weights([module.weight.detach().numpy().T, module.bias.detach().numpy()])
    weights = {key: value.detach().numpy() for key, value in theirs.named_parameters()}
    for layer in lora_layers(ours):
        path = ours.module_names[layer_path(layer)]
        key = f"base_model.model.distilbert.{path}"
        if name != "pissa":
            layer.update.a.assign(weights[f"{key}.lora_A.default.weight"].T)
    ratio = 16.0 if name == "lora+" else 1.0
    optimizer = LoraPlusAdamW(1e-3, ratio=ratio, weight_decay=0.01, epsilon=1e-8)
    parameters = [(key, p) for key, p in theirs.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for key, p in parameters if "lora_B" in key], "lr": 1e-3 * ratio},
        {"params": [p for key, p in parameters if "lora_B" not in key], "lr": 1e-3},
    ]
    their_optimizer = torch.optim.AdamW(groups, eps=1e-8, weight_decay=0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    generator = np.random.default_rng(0)
    for _ in range(10):
        ids, labels = generator.integers(6, 300, (8, 12)), generator.integers(0, 3, 8)
        inputs = {"token_ids": ids.astype("int32"), "padding_mask": np.ones((8, 12), "int32")}
        expected = theirs(
            input_ids=torch.tensor(ids), attention_mask=torch.ones(8, 12), labels=torch.tensor(labels)
        ).loss
        value = loss(torch.tensor(labels), ours(inputs, training=True))
        assert abs(value.item() - expected.item()) < 2e-4
        their_optimizer.zero_grad()
        expected.backward()
        their_optimizer.step()
        variables = ours.trainable_weights
        for variable in variables:
            variable.value.grad = None
        value.backward()
        with torch.no_grad():
            optimizer.apply([variable.value.grad for variable in variables], variables)


def test_lora_plus_groups_are_pefts(tmp_path: Path) -> None:
    folder = tiny_huggingface("gpt2", tmp_path, task="LMHeadModel")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"]))
    from peft.optimizers import create_loraplus_optimizer

    groups = create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    ours = CausalLM.from_preset(str(folder))
    enable_lora(ours, targets=("c_attn",))
    optimizer = LoraPlusAdamW(1e-3, ratio=16)
    for key, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == pytest.approx(1e-3 * (16 if "lora_B" in key else 1))
    factors = {variable.name: optimizer._factor(variable) for variable in ours.trainable_variables}
    assert factors == {"lora_a": 1.0, "lora_b": 16.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_huggingface("bert", tmp_path_factory.mktemp("bert") / "bert")


def test_patterns_layers_biases_and_modules_choose_what_they_say(folder: Path) -> None:
    model = TextClassifier.from_preset(str(folder), 2, max_length=16)
    options: dict[str, Any] = {"targets": "all-linear", "rank_pattern": {"attention.self.query": 2, "*_1/*": 3}}
    enable_lora(model, rank=4, layers="0-1", bias="all", modules_to_save=["feedforward_layer_norm"], **options)
    ranks = {layer_path(layer): layer.update.rank for layer in lora_layers(model)}
    assert len(ranks) == 12
    for path, rank in ranks.items():
        assert rank == (2 if "query" in path else 3 if "layer_1" in path else 4)
    trained = {variable.path for variable in model.trainable_variables}
    assert "embeddings_layer_norm/beta" in trained and "embeddings_layer_norm/gamma" not in trained
    assert "transformer_layer_0/feedforward_layer_norm/gamma" in trained
    assert "transformer_layer_0/feedforward_output_dense/bias" in trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "last:3"}, "Layers 'last:3' are not within the 2 layers that the model has, 0 to 1"),
        ({"layers": "1-5"}, "not within the 2 layers"),
        ({"layers": "some"}, "'last:K', 'first:K', numbers or ranges such as 0,4-7. Received: 'some'"),
        ({"layers": "1-0"}, "not within"),
        ({"targets": ("pooled_dense",), "layers": "0"}, "No target lies in the layers '0' of the 2"),
        ({"rank_pattern": {"qery": 3}}, "Pattern 'qery' matches none of the adapted layers"),
        ({"rank_pattern": {"query": 0}}, "1 or more. Received: 0"),
        ({"alpha_pattern": {"query": -1.0}}, "greater than 0. Received: -1.0"),
        ({"bias": "some"}, "bias must be one of none, lora_only, all. Received: 'some'"),
        ({"init": "magic"}, "init must be one of default, pissa. Received: 'magic'"),
        ({"modules_to_save": ["nose"]}, "Module 'nose' matches no layer"),
    ],
)
def test_bad_options_are_refused_and_leave_the_model(folder: Path, options: dict[str, Any], message: str) -> None:
    model = TextClassifier.from_preset(str(folder), 2, max_length=16)
    before = [(variable.path, variable.trainable) for variable in model.variables]
    with pytest.raises(ConfigError) as caught:
        enable_lora(model, **options)
    assert message in str(caught.value)
    assert [(variable.path, variable.trainable) for variable in model.variables] == before


def test_methods_train_all_or_the_head(folder: Path) -> None:
    model = TextClassifier.from_preset(str(folder), 2, max_length=16)
    full = train_full(model)
    assert full.trainable == full.total and full.lora > 0
    other = TextClassifier.from_preset(str(folder), 2, max_length=16)
    probe = train_head(other)
    assert (probe.lora, probe.head) == (0, 32 * 2 + 2)
    with pytest.raises(ConfigError, match="no head to train"):
        train_head(dense())
