"""Twenty training steps next to PEFT: same weights, batches and optimizer, same losses."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from kerora.lora.inject import enable_lora, lora_layers
from kerora.models.classifier import TextClassifier
from kerora.tasks.classification.losses import CrossEntropy
from kerora.training.step import TrainStep
from tests.tiny_huggingface import tiny_huggingface

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

STEPS, ROWS, LENGTH, CLASSES = 20, 8, 16, 3
# where PEFT finds what Keras calls query and value
TARGETS = {
    "distil_bert": (
        "distilbert.transformer.layer.{i}.attention.q_lin",
        "distilbert.transformer.layer.{i}.attention.v_lin",
    ),
    "bert": ("bert.encoder.layer.{i}.attention.self.query", "bert.encoder.layer.{i}.attention.self.value"),
    "roberta": ("roberta.encoder.layer.{i}.attention.self.query", "roberta.encoder.layer.{i}.attention.self.value"),
}
HEADS = {
    "distil_bert": {"pooled_dense": "pre_classifier", "logits": "classifier"},
    "bert": {"logits": "classifier"},
    "roberta": {"pooled_dense": "classifier.dense", "logits": "classifier.out_proj"},
}


def their_model(kind: str, folder: Path) -> Any:
    names = ("attention_dropout", "dropout", "seq_classif_dropout")
    if kind != "distil_bert":
        names = ("attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=CLASSES, **dict.fromkeys(names, 0.0)
    )
    targets = [pattern.rpartition(".")[2] for pattern in TARGETS[kind]]
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets)
    return peft.get_peft_model(model, config)


def copy_to_ours(ours: TextClassifier, theirs: Any, kind: str) -> None:
    weights = {name.removeprefix("base_model.model."): value.detach() for name, value in theirs.named_parameters()}
    for index, layer in enumerate(lora_layers(ours)):
        module = TARGETS[kind][index % 2].format(i=index // 2)
        layer.update.a.assign(weights[f"{module}.lora_A.default.weight"].T.numpy())
        layer.update.b.assign(weights[f"{module}.lora_B.default.weight"].T.numpy())
    for layer in ours.head_layers:
        outer, _, inner = HEADS[kind][layer.name].partition(".")
        module = f"{outer}.modules_to_save.default" + (f".{inner}" if inner else "")
        layer.kernel.assign(weights[f"{module}.weight"].T.numpy())
        layer.bias.assign(weights[f"{module}.bias"].numpy())


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("kind", list(TARGETS))
def test_twenty_steps_equal_peft(kind: str, tmp_path: Path) -> None:
    # weights of a trained size: with the usual 0.02, gradients would drown in the rounding that Adam amplifies
    folder = tiny_huggingface(kind, tmp_path / kind, initializer_range=0.15)
    theirs = their_model(kind, folder)
    ours = TextClassifier.from_preset(str(folder), CLASSES, max_length=LENGTH, head_dropout=0.0, seed=0)
    enable_lora(ours, rank=4, alpha=8, dropout=0.0)
    copy_to_ours(ours, theirs, kind)

    generator = np.random.default_rng(0)
    token_ids = generator.integers(6, ours.tokenizer.vocabulary_size, (STEPS, ROWS, LENGTH))
    mask = np.arange(LENGTH) < generator.integers(4, LENGTH + 1, (STEPS, ROWS))[..., None]
    token_ids = np.where(mask, token_ids, ours.tokenizer.pad_id)
    labels = generator.integers(0, CLASSES, (STEPS, ROWS))

    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=0.0, epsilon=1e-8, global_clipnorm=1.0)
    ours.compile(optimizer=optimizer, loss=CrossEntropy(), step=TrainStep(1))
    torch_optimizer = torch.optim.AdamW(
        [p for p in theirs.parameters() if p.requires_grad], lr=2e-3, eps=1e-6, weight_decay=0.0
    )
    theirs.train()
    losses: list[tuple[float, float]] = []
    for step in range(STEPS):
        inputs = {"token_ids": token_ids[step], "padding_mask": mask[step].astype("int32")}
        if "segment_ids" in ours.input:
            inputs["segment_ids"] = np.zeros_like(token_ids[step])
        mine = ours.train_on_batch(inputs, labels[step])
        output = theirs(
            input_ids=torch.tensor(token_ids[step]),
            attention_mask=torch.tensor(mask[step].astype("int64")),
            labels=torch.tensor(labels[step]),
        )
        torch_optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        torch_optimizer.step()
        ours.reset_metrics()
        losses.append((float(np.ravel(mine)[0]), output.loss.item()))
    differences = [abs(mine - reference) for mine, reference in losses]
    assert max(differences) < 1e-4, f"largest difference {max(differences):.1e}"
    assert losses[-1][1] != pytest.approx(losses[0][1], abs=0.01), "the run must have learnt something"
