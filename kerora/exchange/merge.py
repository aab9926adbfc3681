"""Merges a run, or the weighted sum of several runs, into a plain model: the updates are added to the kernels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kerora.errors import ConfigError
from kerora.lora.files import load_adapter
from kerora.lora.inject import lora_layers
from kerora.lora.layers import demote
from kerora.lora.quantize import dequantize_into, quantised_layers
from kerora.models.long_texts import LongTexts
from kerora.models.task import TaskModel
from kerora.runs.open import load
from kerora.tasks.registry import task_of_model


def merged_model(
    runs: Sequence[str | Path], weights: Sequence[float] | None = None, preset: str | Path | None = None
) -> TaskModel:
    """Return a plain float32 model with the outputs of the run, or with the weighted sum of several runs.

    With several runs, each weight of the backbone changes by the weighted sum of the changes in the runs. The head is
    the weighted mean of their heads.

    Args:
        runs: run folders with the same base model. All have the same classes, or all are language models.
        weights: a number for each run. None gives each run the same share of 1.
        preset: path or name of the base model, if it moved since the runs were made.

    Raises:
        ConfigError: the runs have different base models or classes, or the number of weights is wrong.
        RunError: one of the paths is not a finished run.
    """
    shares = shares_of(runs, weights)
    models = [without_quantisation(run, load(run, preset, dtype="float32"))[0] for run in runs]
    # before `bake` and `_add_up`, which change the models in place
    _check_alike(runs, models)
    for model in models:
        bake(model)
    # of one run with another weight than 1, too: the weight scales the change of its base
    if shares != [1.0]:
        _add_up(models, shares)
        # a temperature was fitted for the logits of one run, and these are others
        models[0].forget_decision()
    return models[0]


def shares_of(runs: Sequence[str | Path], weights: Sequence[float] | None) -> list[float]:
    """Return a weight for each run. If none are given, all are equal.

    Raises:
        ConfigError: the number of weights is wrong, or their sum is 0.
    """
    # equal shares of 1: the weights then change by the mean of the changes
    shares = [1 / len(runs)] * len(runs) if weights is None else list(weights)
    if len(shares) != len(runs):
        raise ConfigError(f"--weights needs a number for each run: {len(runs)} runs, {len(shares)} weights.")
    # `_add_up` divides the heads by the sum
    if not np.isfinite(shares).all() or sum(shares) == 0:
        raise ConfigError(f"--weights must be numbers whose sum is not 0. Received: {', '.join(map(str, shares))}")
    return shares


def bake(model: TaskModel) -> None:
    """Merge the updates into the kernels permanently and remove them from the layers, and the scale into the head."""
    for layer in lora_layers(model):
        layer.merge()
        layer.update.base_kernel = None  # the copy that would undo the merge
        demote(layer)  # back to the class of Keras
    model.fold_scale()


def without_quantisation(run: str | Path, model: TaskModel) -> tuple[TaskModel, str]:
    """Return a float model with the outputs of the quantised model of a run, and a note on the quantising error.

    A model that is not quantised is returned unchanged.
    """
    if not quantised_layers(model):
        return model, ""
    plain = plain_copy(model)
    # the adapter was trained on the rounded weights: with the original ones the outputs would differ
    lost = dequantize_into(model, plain)
    load_adapter(plain, run)
    return (
        plain,
        f"The base was quantised. Its weights keep their differences from the original weights, up to {lost:.2g}",
    )


def plain_copy(model: TaskModel) -> TaskModel:
    """Return the base of a model in float32, without the adapter. If the task has a head, it is a new one."""
    copy: TaskModel = task_of_model(model).models.plain_copy(model)
    copy.long_texts = model.long_texts
    return copy


def _check_alike(runs: Sequence[str | Path], models: Sequence[TaskModel]) -> None:
    first = models[0]
    for run, model in zip(runs, models, strict=True):
        # not the path, because a base can be copied or moved
        if model.preset.fingerprint != first.preset.fingerprint:
            raise ConfigError(
                f"{run} has a base model with fingerprint {model.preset.fingerprint[:12]}, but {runs[0]} has one with "
                f"{first.preset.fingerprint[:12]}. Merge runs of one base."
            )
        if model.long_texts != first.long_texts:
            ways = [_way(one.long_texts) for one in (model, first)]
            raise ConfigError(f"{run} reads long texts with {ways[0]}, but {runs[0]} with {ways[1]}. Merge runs alike.")
        mine, others = (task_of_model(one).models.shape(one) for one in (model, first))
        if mine != others:
            raise ConfigError(f"{run} has {mine}, but {runs[0]} has {others}. Merge runs with the same classes.")


def _way(long_texts: LongTexts) -> str:
    more = f" --stride {long_texts.stride} --pool {long_texts.pool}" if long_texts.windows else ""
    return f"--long {long_texts.long}{more}"


def _add_up(models: Sequence[TaskModel], shares: Sequence[float]) -> None:
    target = models[0]
    base = plain_copy(target)
    head = {id(variable) for layer in target.head_layers for variable in layer.variables}
    origins = {variable.path: variable for variable in base.backbone.variables}
    total = sum(shares)
    with torch.no_grad():
        for variables in zip(*(model.weights for model in models), strict=True):
            # integer variables are no trained weights
            if not variables[0].value.is_floating_point():
                continue
            values = [variable.value.float() for variable in variables]
            # A head starts at random, so there is no base value to count changes from: take the mean.
            if id(variables[0]) in head:
                summed: Any = sum(share * value for share, value in zip(shares, values, strict=True)) / total
            else:
                # The sum is not divided: weights that do not add up to 1 scale the change of the base on purpose.
                origin = origins[variables[0].path].value.float()
                summed = origin + sum(share * (value - origin) for share, value in zip(shares, values, strict=True))
            variables[0].assign(summed)
