"""Makes a run folder from an adapter that PEFT trained and saved."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.compat import kernel_of
from kerora.errors import AdapterError
from kerora.hubs.names import HUGGING_FACE
from kerora.lora.files import CONFIG_FILE, load_adapter, read_adapter_config, save_adapter
from kerora.lora.inject import lora_layers, summarize
from kerora.lora.layers import LowRankUpdate
from kerora.lora.source import adapter_folder
from kerora.models.precision import resolve_precision
from kerora.models.presets import find_preset
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder, create_run, write_json, write_text
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import dump_yaml
from kerora.tasks.contract import EVALUATED, Evaluation
from kerora.tasks.registry import Task, task_of_peft_type
from kerora.training.manifest import describe, now


def import_peft(
    directory: str | Path, output: str, config: FitConfig, *, evaluate: bool = False, argv: Sequence[str] = ()
) -> RunFolder:
    """Write a run folder from an adapter of PEFT. All commands that take a run accept it.

    Args:
        directory: folder with PEFT's adapter_config.json and adapter_model.safetensors, or with adapter_model.bin of
            older versions. Or ``hf://organisation/name[@revision][/folder]`` of the Hugging Face hub.
        output: the run folder to make.
        config: preset, precision and length, and with `evaluate` also the data. ``data.class_names`` names the
            classes. Without data, ``language.turns`` or ``language.prompt`` give the form of the texts.
        evaluate: whether to read the data and record metrics and predictions.
        argv: the command line, for the manifest.

    Raises:
        AdapterError: the adapter does not fit the preset, or has features that Kerora does not have. The message
            names them.
        KeroraError: the preset or the data cannot be used. Nothing was written.
    """
    folder = adapter_folder(directory)
    if not (folder / CONFIG_FILE).is_file():
        raise AdapterError(f"{folder} holds no {CONFIG_FILE}. Give the folder that PEFT's save_pretrained wrote.")
    description = read_adapter_config(folder)
    task = task_of_peft_type(description.get("task_type"), config.task, folder)
    config = dataclasses.replace(config, task=task.name)
    # all that can fail comes before `create_run`, so a refused import leaves no folder
    preset = find_preset(config.model.preset)
    dataset = task.rows.load(config) if evaluate else None
    model: TaskModel = task.exchange.imported(folder, config, preset, dataset)
    load_adapter(model, folder)
    found = _evaluated(task, model, dataset, config)
    config = _settled(config, description, model)
    # create_run puts a name without a slash into runs_dir, but the output of an import is a path
    run = create_run(output if "/" in output else f"./{output}", config.runs_dir, "imported")
    facts = describe(config, dataset, model, summarize(model, model.head_layers), argv)
    # only the name of the folder: model cards show it, and they are published
    source = str(directory) if str(directory).startswith(HUGGING_FACE) else folder.resolve().name
    run.update_manifest(**facts, state="running", started=now(), imported_from=source)
    # without the name: a fit with this file gets a run folder of its own
    write_text(run.config, dump_yaml(dataclasses.replace(config, run=None)))
    save_adapter(model, run.adapter, task.training.adapter_facts(config, dataset))
    task.models.write_head(run, model)
    _write(task, model, run, found)
    run.update_manifest(state="finished", finished=now())
    return run


@dataclass(frozen=True)
class _Found:
    """The results of the model without or with the adapter: its metrics, and its outputs for a few rows."""

    evaluation: Evaluation
    demonstration: Any


def _evaluated(task: Task, model: TaskModel, dataset: Any, config: FitConfig) -> tuple[_Found, ...]:
    """Evaluate the base and the adapted model on validation and test rows. Empty without such rows."""
    rows = {split: rows for split, rows in dataset or () if split in EVALUATED}
    if not rows:
        return ()
    shown = next(iter(rows.values()))
    return tuple(
        _Found(task.training.evaluate(one, rows, config), task.training.demonstrate(one, shown, config))
        # a fixed seed makes the untrained head, and so the metrics before training, repeatable
        for one in (task.models.plain_copy(model, seed=0), model)
    )


def _write(task: Task, model: TaskModel, run: RunFolder, found: tuple[_Found, ...]) -> None:
    if not found:
        return
    before, after = found
    write_json(run.metrics, {"before": before.evaluation.metrics, "after": after.evaluation.metrics})
    task.training.write_details(run, model, after.evaluation)
    for trained, one in ((False, before), (True, after)):
        task.training.write_demonstration(run, one.demonstration, trained)


def _settled(config: FitConfig, description: dict[str, Any], model: TaskModel) -> FitConfig:
    """Return the settings of the run with those of the adapter."""
    layers = lora_layers(model)
    update: LowRankUpdate = layers[0].update
    # PEFT has one module for query, key and value of GPT-2. The three layers here share its name and its rank.
    updates = {model.module_names[str(kernel_of(layer).path).rpartition("/")[0]]: layer.update for layer in layers}
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
    shape = dataclasses.replace(
        config.model,
        max_length=model.max_length,
        truncate=model.truncate,
        precision=resolve_precision(config.model.precision),
    )
    return dataclasses.replace(config, lora=lora, model=shape)


def _more_modules(description: dict[str, Any], model: TaskModel) -> tuple[str, ...]:
    """Return the modules that were trained in full, except for the head, which is always trained in full."""
    head = model.preset.architecture.head
    own = {"classifier", "score", head.logits}  # PEFT names the first two for every model
    own |= set() if head.from_pooler else {head.dense}
    names = description.get("modules_to_save") or ()
    # with the dot, `classifier` matches the path `classifier.dense`, and `class` does not
    return tuple(name for name in names if not any(f"{path}.".startswith(f"{name}.") for path in own))
