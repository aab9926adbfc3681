"""Merges runs into plain models: updates folded into the kernels, of one run or a weighted sum of several."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from kerora.errors import ConfigError
from kerora.lora.files import load_adapter
from kerora.lora.inject import lora_layers
from kerora.lora.layers import demote
from kerora.lora.quantize import dequantize_into, quantised_layers
from kerora.models.task import TaskModel
from kerora.runs.open import load
from kerora.tasks.registry import task_of_model


def merged_model(runs: Sequence[str], weights: Sequence[float] | None = None, preset: str | None = None) -> TaskModel:
    """Return a plain float32 model that computes what the run computes, or the weighted sum of several runs.

    With several runs the change of each weight of the backbone is the weighted sum of the runs' changes, and the head
    is their weighted mean.

    Args:
        runs: run folders on one base, with the same classes, or all of language models.
        weights: a number for each run; None gives each the same share of 1.
        preset: where the base model is now.

    Raises:
        ConfigError: the runs have another base or other classes, or there is not a weight for each.
        RunError: one is no finished run.
    """
    shares = shares_of(runs, weights)
    models = [without_quantisation(run, load(run, preset, dtype="float32"))[0] for run in runs]
    _check_alike(runs, models)
    for model in models:
        bake(model)
    if len(models) > 1:
        _add_up(models, shares, preset)
    return models[0]


def shares_of(runs: Sequence[str], weights: Sequence[float] | None) -> list[float]:
    """Return a weight for each run, of the same size where none are given.

    Raises:
        ConfigError: there is not a weight for each, or they add up to nothing.
    """
    shares = [1 / len(runs)] * len(runs) if weights is None else list(weights)
    if len(shares) != len(runs):
        raise ConfigError(f"--weights needs a number for each run: {len(runs)} runs, {len(shares)} weights.")
    if not np.isfinite(shares).all() or sum(shares) == 0:
        raise ConfigError(f"--weights must be numbers whose sum is not 0. Received: {', '.join(map(str, shares))}")
    return shares


def bake(model: TaskModel) -> None:
    """Fold the updates into the kernels for good and take them off the layers."""
    for layer in lora_layers(model):
        layer.merge()
        layer.update.base_kernel = None
        demote(layer)


def without_quantisation(run: str, model: TaskModel) -> tuple[TaskModel, str]:
    """Return a float model that computes what a run's quantised one computes, and what quantising lost.

    A model that is not quantised is returned as it is.
    """
    if not quantised_layers(model):
        return model, ""
    plain = plain_copy(model)
    lost = dequantize_into(model, plain)
    load_adapter(plain, run)
    return plain, f"The base was quantised: its weights differ from the original's by up to {lost:.2g}, which stays so"


def plain_copy(model: TaskModel) -> TaskModel:
    """Return the base of a model, float32: as it is without its adapter, with a fresh head where it has one."""
    copy: TaskModel = task_of_model(model).models.plain_copy(model)
    return copy


def _check_alike(runs: Sequence[str], models: Sequence[TaskModel]) -> None:
    first = models[0]
    for run, model in zip(runs, models, strict=True):
        if model.preset.fingerprint != first.preset.fingerprint:
            raise ConfigError(
                f"{run} has a base model with fingerprint {model.preset.fingerprint[:12]}, {runs[0]} one with "
                f"{first.preset.fingerprint[:12]}. Merge runs of one base."
            )
        mine, others = (task_of_model(one).models.shape(one) for one in (model, first))
        if mine != others:
            raise ConfigError(f"{run} has {mine}, {runs[0]} {others}. Merge runs with the same classes.")


def _add_up(models: Sequence[TaskModel], shares: Sequence[float], preset: str | None) -> None:
    target = models[0]
    base = plain_copy(target)
    head = {id(variable) for layer in target.head_layers for variable in layer.variables}
    origins = {variable.path: variable for variable in base.backbone.variables}
    total = sum(shares)
    with torch.no_grad():
        for variables in zip(*(model.weights for model in models), strict=True):
            if not variables[0].value.is_floating_point():
                continue
            values = [variable.value.float() for variable in variables]
            if id(variables[0]) in head:
                summed: Any = sum(share * value for share, value in zip(shares, values, strict=True)) / total
            else:
                origin = origins[variables[0].path].value.float()
                summed = origin + sum(share * (value - origin) for share, value in zip(shares, values, strict=True))
            variables[0].assign(summed)
