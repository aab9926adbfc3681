"""Language models next to transformers and PEFT: same loss, same gradients, same training."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.lora.inject import enable_lora, lora_layers, merge_lora
from kerora.lora.layers import LoraLayer
from kerora.models.causal_lm import CausalLM
from kerora.training.step import TrainStep
from tests.tiny_huggingface import tiny_huggingface

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

STEPS, ROWS, LENGTH, RANK = 20, 4, 16, 4


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # weights of a trained size: with the usual 0.02, gradients would drown in the rounding that Adam amplifies
    folder = tmp_path_factory.mktemp("gpt2") / "gpt2"
    return tiny_huggingface("gpt2", folder, task="LMHeadModel", initializer_range=0.15)


def batch(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, torch.Tensor]:
    """Return Kerora's inputs, targets and weights, and transformers' labels; the first part of a row is a prompt."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(6, LENGTH + 1, ROWS)
    places = np.arange(LENGTH)
    mask = places < lengths[:, None]
    ids = np.where(mask, generator.integers(1, 300, (ROWS, LENGTH)), 0)
    counted = mask & (places >= generator.integers(1, 5, ROWS)[:, None])
    labels = torch.tensor(np.where(counted, ids, -100))
    targets = np.roll(ids, -1, 1)
    weights = np.roll(counted, -1, 1).astype("float32")
    weights[:, -1] = 0
    return {"token_ids": ids, "padding_mask": mask.astype("int32")}, targets, weights, labels


def their_loss(model: Any, x: dict[str, np.ndarray], labels: torch.Tensor) -> torch.Tensor:
    inputs = {"input_ids": torch.tensor(x["token_ids"]), "attention_mask": torch.tensor(x["padding_mask"])}
    loss: torch.Tensor = model(**inputs, labels=labels).loss
    return loss


def their_adapter(folder: Path, targets: list[str]) -> Any:
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=8, lora_dropout=0.0, target_modules=targets,
                             fan_in_fan_out=True)  # fmt: skip
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return wrapped


def pieces(model: CausalLM, theirs: Any) -> list[tuple[Any, torch.nn.Parameter, torch.nn.Parameter, slice]]:
    """Pair each adapted layer with PEFT's A and B and the columns of B that are the layer's."""
    weights = {name.removeprefix("base_model.model.transformer."): value for name, value in theirs.named_parameters()}
    parts = {pair.keras: pair.part for layer in model.preset.architecture.layers for pair in layer.expand(2)}
    result = []
    for layer in lora_layers(model):
        path = layer._kernel.path.rpartition("/")[0]
        module = model.module_names[path]
        a, b = (weights[f"{module}.lora_{side}.default.weight"] for side in "AB")
        number, count = parts[path] or (0, 1)
        size = len(b) // count
        result.append((layer, a, b, slice(number * size, (number + 1) * size)))
    return result


def copy_to_ours(model: CausalLM, theirs: Any) -> None:
    for layer, a, b, columns in pieces(model, theirs):
        layer.update.a.assign(a.detach().T.numpy())
        layer.update.b.assign(b.detach()[columns].T.numpy())


def tensors(x: dict[str, np.ndarray], targets: np.ndarray, weights: np.ndarray) -> Any:
    return {name: torch.tensor(value) for name, value in x.items()}, torch.tensor(targets), torch.tensor(weights)


@pytest.mark.usefixtures("side")
def test_loss_and_gradients_equal_transformers(gpt2: Path) -> None:
    """Every weight of the model is trained here, the tied embeddings from both of their uses."""
    theirs = transformers.GPT2LMHeadModel.from_pretrained(gpt2).eval()
    ours = CausalLM.from_preset(str(gpt2))
    x, targets, weights, labels = batch(0)
    wanted = their_loss(theirs, x, labels)
    wanted.backward()
    given, y, w = tensors(x, targets, weights)
    loss = ours.compute_loss(x=given, y=y, y_pred=ours(given), sample_weight=w)
    loss.backward()
    assert abs(float(loss.detach()) - float(wanted.detach())) < 1e-5
    gradients = {name.removeprefix("transformer."): value.grad for name, value in theirs.named_parameters()}
    variables = {variable.path: variable for variable in ours.backbone.variables}
    for layer in ours.preset.architecture.layers:
        for pair in layer.expand(2):
            for path, name in pair.variables():
                expected = gradients[name]
                if pair.part is not None:
                    expected = torch.chunk(expected, pair.part[1], dim=-1)[pair.part[0]]
                found = variables[path].value.grad.reshape(expected.shape)
                torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-3, msg=path)


@pytest.mark.usefixtures("side")
def test_adapter_equals_peft(gpt2: Path) -> None:
    """On c_attn PEFT's one A serves query, key and value: its gradient is the sum of theirs."""
    theirs = their_adapter(gpt2, ["c_attn", "c_proj"])
    ours = CausalLM.from_preset(str(gpt2))
    enable_lora(ours, rank=RANK, alpha=8, dropout=0.0, targets=("c_attn", "c_proj"))
    copy_to_ours(ours, theirs)
    x, targets, weights, labels = batch(1)
    wanted = their_loss(theirs, x, labels)
    wanted.backward()
    given, y, w = tensors(x, targets, weights)
    loss = ours.compute_loss(x=given, y=y, y_pred=ours(given, training=True), sample_weight=w)
    loss.backward()
    assert abs(float(loss.detach()) - float(wanted.detach())) < 1e-5
    summed: dict[int, torch.Tensor] = {}
    for layer, a, b, columns in pieces(ours, theirs):
        torch.testing.assert_close(layer.update.b.value.grad.T, b.grad[columns], atol=1e-5, rtol=1e-3)
        summed[id(a)] = summed.get(id(a), torch.zeros_like(a)) + layer.update.a.value.grad.T
    for _, a, _, _ in pieces(ours, theirs):
        torch.testing.assert_close(summed[id(a)], a.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.usefixtures("side")
def test_merged_logits_equal_peft(gpt2: Path) -> None:
    theirs = their_adapter(gpt2, ["c_attn", "c_proj"])
    ours = CausalLM.from_preset(str(gpt2))
    enable_lora(ours, rank=RANK, alpha=8, dropout=0.0, targets=("c_attn", "c_proj"))
    copy_to_ours(ours, theirs)
    x = batch(2)[0]
    merged = theirs.merge_and_unload().eval()
    with torch.no_grad():
        wanted = merged(torch.tensor(x["token_ids"])).logits
    merge_lora(ours)
    real = x["padding_mask"].astype(bool)
    torch.testing.assert_close(ours.logits(x)[real], wanted[real], atol=5e-5, rtol=0)


@pytest.mark.usefixtures("side")
def test_twenty_steps_equal_peft(gpt2: Path) -> None:
    theirs = their_adapter(gpt2, ["c_proj"])
    ours = CausalLM.from_preset(str(gpt2))
    enable_lora(ours, rank=RANK, alpha=8, dropout=0.0, targets=("c_proj",))
    copy_to_ours(ours, theirs)
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=0.0, epsilon=1e-8, global_clipnorm=1.0)
    ours.compile(optimizer=optimizer, step=TrainStep(STEPS))
    parameters = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    torch_optimizer = torch.optim.AdamW(parameters, lr=2e-3, eps=1e-8, weight_decay=0.0)
    theirs.train()
    for number in range(STEPS):
        x, targets, weights, labels = batch(10 + number)
        loss = their_loss(theirs, x, labels)
        torch_optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        torch_optimizer.step()
        ours.reset_metrics()
        logs = ours.train_step(tensors(x, targets, weights))
        assert abs(float(logs["loss"]) - float(loss.detach())) < 2e-4
    for layer, a, b, columns in pieces(ours, theirs):
        assert isinstance(layer, LoraLayer)
        torch.testing.assert_close(layer.update.a.value.detach().T, a.detach(), atol=5e-4, rtol=1e-2)
        torch.testing.assert_close(layer.update.b.value.detach().T, b.detach()[columns], atol=5e-4, rtol=1e-2)
