"""Writes a run folder from a model that is trained already: in a user's script, or by another tool."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerora.data.rows import Dataset
from kerora.lora.files import read_adapter_config, save_adapter
from kerora.lora.inject import lora_layers, summarize
from kerora.lora.layers import LowRankUpdate
from kerora.lora.select import layer_path
from kerora.models.precision import resolve_precision
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder, write_json, write_text
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import dump_yaml
from kerora.tasks.contract import EVALUATED, Evaluation
from kerora.tasks.registry import Task
from kerora.training.kept_data import relative
from kerora.training.manifest import describe, now


def write_run(
    run: RunFolder,
    task: Task,
    model: TaskModel,
    config: FitConfig,
    dataset: Any,
    found: "tuple[Found, ...]",
    *,
    description: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    **origin: str,
) -> None:
    """Write the files of a run.

    Args:
        run: a new folder.
        task: the task of the model.
        model: the trained model.
        config: preset, data and precision. The settings of LoRA and the length are taken from the model.
        dataset: the rows, or None.
        found: what `evaluated` returned.
        description: adapter_config.json of the tool that trained the model. Default: None, that of the run itself.
        argv: the command line, for the manifest.
        **origin: entry of the manifest that says where the model comes from.
    """
    facts = describe(config, dataset, model, summarize(model, model.head_layers), argv)
    run.update_manifest(**facts, state="running", started=now(), **origin)
    splits = {} if dataset is None else dict(dataset)
    # the facts are those of the training rows, or of the rows that there are
    learnt = None if dataset is None else Dataset("", (), {"train": next(iter(splits.values()))})
    save_adapter(model, run.adapter, task.training.adapter_facts(config, learnt))
    task.models.write_head(run, model)
    config = settled(config, description or read_adapter_config(run.adapter), model)
    # without the name: a fit with this file gets a run folder of its own
    plain = dataclasses.replace(config, run=None, data=relative(run, config.data))
    write_text(run.config, dump_yaml(plain))
    if found:
        before, after = found
        write_json(run.metrics, {"before": before.evaluation.metrics, "after": after.evaluation.metrics})
        task.training.write_details(run, model, after.evaluation)
        for is_trained, one in ((False, before), (True, after)):
            task.training.write_demonstration(run, one.demonstration, is_trained)
    run.update_manifest(state="finished", finished=now())


@dataclass(frozen=True)
class Found:
    """The results of the model without or with the adapter: its metrics, and its outputs for a few rows."""

    evaluation: Evaluation
    demonstration: Any


def evaluated(task: Task, model: TaskModel, dataset: Any, config: FitConfig) -> tuple[Found, ...]:
    """Evaluate the base and the trained model on validation and test rows. Empty without such rows.

    What a fit settles on validation rows after the training, such as the temperature, is set on the model.
    """
    rows = {split: rows for split, rows in dataset or () if split in EVALUATED}
    if not rows:
        return ()
    shown = next(iter(rows.values()))
    # a fixed seed makes the untrained head, and so the metrics before training, repeatable
    plain = task.models.plain_copy(model, seed=0)
    before, after = (task.training.evaluate(one, rows, config) for one in (plain, model))
    return (
        Found(before, task.training.demonstrate(plain, shown, config)),
        Found(task.training.settle(model, after, config), task.training.demonstrate(model, shown, config)),
    )


def settled(config: FitConfig, description: Mapping[str, Any], model: TaskModel) -> FitConfig:
    """Return the settings of the run with those of the adapter and the model."""
    shape = dataclasses.replace(
        config.model,
        max_length=model.max_length,
        truncate=model.truncate,
        precision=resolve_precision(config.model.precision),
    )
    layers = lora_layers(model)
    if not layers:
        return dataclasses.replace(config, model=shape)
    update: LowRankUpdate = layers[0].update
    # PEFT has one module for query, key and value of GPT-2. The three layers here share its name and its rank.
    updates = {model.module_names[layer_path(layer)]: layer.update for layer in layers}
    rank, alpha = int(description["r"]), float(description.get("lora_alpha", 8))  # 8 is PEFT's default
    # PEFT has one dropout, rsLoRA and DoRA setting for all layers, so the first layer tells them
    lora = dataclasses.replace(
        config.lora,
        rank=rank,
        alpha=alpha,
        dropout=update.dropout,
        targets=tuple(updates),
        rank_pattern=tuple(f"{name}={own.rank}" for name, own in updates.items() if own.rank != rank),
        alpha_pattern=tuple(f"{name}={own.alpha:g}" for name, own in updates.items() if own.alpha != alpha),
        bias=description.get("bias", "none"),
        modules_to_save=_more_modules(description, model),
        use_rslora=update.use_rslora,
        use_dora=update.magnitude is not None,
    )
    return dataclasses.replace(config, lora=lora, model=shape)


def _more_modules(description: Mapping[str, Any], model: TaskModel) -> tuple[str, ...]:
    """Return the modules that were trained in full, except for the head, which is always trained in full."""
    head = model.preset.architecture.head
    own = {"classifier", "score", head.logits}  # PEFT names the first two for every model
    own |= set() if head.from_pooler else {head.dense}
    names = description.get("modules_to_save") or ()
    # with the dot, `classifier` matches the path `classifier.dense`, and `class` does not
    return tuple(name for name in names if not any(f"{path}.".startswith(f"{name}.") for path in own))
