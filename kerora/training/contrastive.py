"""The contrastive start: rows of one class come close before the head is trained (`--start contrastive`).

The idea is that of SetFit (Tunstall et al. 2022, arXiv:2209.11055): few rows have many pairs. Here all
pairs of a batch are used, and the weights of LoRA are trained instead of the whole encoder.
"""

import math
import time
from typing import Any

import keras
import torch

from kerora.data.batches import Batches
from kerora.errors import ConfigError, TrainingError
from kerora.fast.blocks import pooled_only
from kerora.models.task import TaskModel
from kerora.settings.fit import TrainingConfig
from kerora.training.loop import make_optimizer
from kerora.training.step import clear_gradients, mix, seed_draws

UPDATES = 100
"""Updates of the start. Each has a batch of rows, and so up to 496 pairs of 32 rows."""
STREAM = 1_000_003
"""Keeps the random numbers apart from those of the training."""


def contrastive_start(model: TaskModel, batches: Batches, config: TrainingConfig, rate: float) -> str:
    """Train the adapter so that rows of one class have similar features, and return a line about it.

    The features are what the head reads. The loss of a pair is the squared difference of the cosine of its features
    and 1 (one class) or 0 (two classes). Pairs of one class and pairs of two classes have the same total weight. The
    head does not change. The result depends only on the settings and the rows.

    Args:
        model: a model with a head on the features of a text.
        batches: the training batches with class numbers. They are at the start of the first epoch afterwards.
        config: warm-up, schedule, weight decay, clipping and seed.
        rate: peak learning rate.

    Raises:
        ConfigError: no weights below the head are trained.
        TrainingError: the loss is not finite.
    """
    started = time.perf_counter()
    head = {id(weight) for layer in model.head_layers for weight in layer.weights}
    variables = [weight for weight in model.trainable_weights if id(weight) not in head]
    if not variables:
        raise ConfigError("--start contrastive trains the adapter, but --method head has none. Leave one out.")
    optimizer = make_optimizer(config, rate, UPDATES)
    optimizer.build(variables)
    losses = []
    for update in range(UPDATES):
        epoch, place = divmod(update, batches.batches_per_epoch)
        if place == 0:
            batches.move_to(epoch)
        seed_draws(mix(config.seed + STREAM, epoch, place))
        inputs, labels, *_ = batches[place]
        loss = pair_loss(features_of(model, inputs), torch.as_tensor(labels))
        if loss is None:
            continue
        if not torch.isfinite(loss):
            raise TrainingError(f"The contrastive loss became {loss.item()}. Lower --learning-rate.")
        clear_gradients(model)
        loss.backward()
        gradients = [
            torch.zeros_like(weight.value) if weight.value.grad is None else weight.value.grad for weight in variables
        ]
        with torch.no_grad():
            optimizer.apply(gradients, variables)
        losses.append(float(loss.detach()))
    clear_gradients(model)
    batches.move_to(0)
    batches.tokens_served = 0
    if not losses:
        raise ConfigError("--start contrastive found no batch with rows of two classes. Raise --batch-size.")
    ends = max(1, math.ceil(len(losses) / 10))
    first, last = (sum(part) / len(part) for part in (losses[:ends], losses[-ends:]))
    seconds = time.perf_counter() - started
    return f"Contrastive start: {len(losses)} updates in {seconds:.0f} s, loss of the pairs {first:.3f} -> {last:.3f}"


def features_of(model: Any, inputs: Any) -> torch.Tensor:
    """Return what the head reads of each row in training, float32 (rows, width)."""
    taken = {name: keras.ops.convert_to_tensor(inputs[name]) for name in model.backbone.input}
    with pooled_only(model.backbone):
        outputs = model.backbone(taken, training=True)
    features: torch.Tensor = model.head.features(outputs, taken["padding_mask"])
    return features.float()


def pair_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
    """Return the mean loss of all pairs of rows, or None if all rows have one class.

    Args:
        features: (rows, width).
        labels: class numbers, (rows,).
    """
    labels = labels.to(features.device)
    unit = torch.nn.functional.normalize(features, dim=-1)
    cosines = unit @ unit.T
    same = labels[:, None] == labels[None, :]
    above = torch.ones_like(same).triu(1)
    close, far = same & above, ~same & above
    if not far.any():
        return None
    apart = cosines[far].square().mean()
    # A batch of rows of different classes only pushes them apart.
    return (apart + (cosines[close] - 1).square().mean()) / 2 if close.any() else apart
