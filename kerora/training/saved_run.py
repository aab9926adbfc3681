"""Writes a run folder from a model that is trained already: in a user's script, or by another tool."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.data.rows import Dataset, Rows
from kerora.data.save import save_dataset
from kerora.errors import ConfigError, RunError
from kerora.lora.files import read_adapter_config, save_adapter
from kerora.lora.inject import lora_layers, summarize
from kerora.lora.layers import LowRankUpdate
from kerora.lora.names import Names
from kerora.lora.peft import trained
from kerora.lora.select import layer_path
from kerora.lora.state import changed_weights, quantized_mode, updates_of
from kerora.models.precision import backbone_dtype, resolve_precision
from kerora.models.raw_texts import is_raw, raw_rows
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder, create_run, write_json, write_text
from kerora.settings.fit import SPLITS, FitConfig
from kerora.settings.resolve import dump_yaml, resolve
from kerora.tasks.contract import EVALUATED, Evaluation
from kerora.tasks.registry import Task, task_of_model
from kerora.training.fit import clear_run
from kerora.training.kept_data import clear_data, relative
from kerora.training.manifest import describe, now


def save_run(
    model: TaskModel,
    path: str | Path,
    *,
    dataset: Any = None,
    settings: Mapping[str, Any] | None = None,
    history: Any = None,
    force: bool = False,
) -> RunFolder:
    """Write a run folder from a trained model. All commands that take a run accept it.

    With validation or test rows, the model and its untrained base are evaluated, and `kerora report` shows both.

    Args:
        model: a `TextClassifier` or `CausalLM` with LoRA, or of which all weights or only the head was trained.
        path: the run folder to make.
        dataset: the data: a value of ``--data``, what `kerora.load_dataset` returned, or for a classifier a dict of its
            parts, such as ``{"test": (texts, labels)}``. Rows in memory are written into the folder. Default: None,
            without data. `kerora evaluate RUN --test FILE` then adds an evaluation.
        settings: settings of the data by their dotted names, such as ``{"data.text": "body"}``.
        history: what `fit` returned, or its dict, for the curves of the report. Default: None.
        force: replace an earlier run at `path`.

    Raises:
        ConfigError: the model is no model of Kerora, or holds changes that a run folder cannot hold.
        AdapterError: LoRA updates are merged, or nothing was trained.
        RunError: the folder exists, or cannot be written.
        DataError: the rows cannot be used.
    """
    if not isinstance(model, TaskModel):
        raise ConfigError(
            f"save_run takes a TextClassifier or CausalLM of Kerora. Received: {type(model).__name__}. For any other "
            "Keras model use kerora.save_adapter."
        )
    if Path(path).is_dir() and any(Path(path).iterdir()) and not force:
        raise RunError(
            f"{path} exists and is not empty. Choose another path, or replace the run in it with force=True."
        )
    task = task_of_model(model)
    config = _config_of(model, task, settings or {}, dataset)
    rows = _dataset(dataset, task, model, config)
    _check_savable(model, config)
    # everything that can fail comes before the folder is made
    found = evaluated(task, model, rows, config)
    target = str(path)
    run = create_run(target if "/" in target else f"./{target}", config.runs_dir, "saved", force)
    if force:
        clear_run(run)
        clear_data(run, config.data)
    if rows is not None and not isinstance(dataset, str | Path):
        save_dataset(rows, run.data)
        data = dataclasses.replace(config.data, source=str(run.data), validation_split=0.0, test_split=0.0)
        config = dataclasses.replace(config, data=data)
    write_run(run, task, model, config, rows, found, saved_by="kerora.save_run")
    if history is not None:
        write_text(run.history, _history_csv(history, task.training.COLUMNS))
    return run


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
    """Evaluate the base and the trained model on validation and test rows. Empty without such rows."""
    rows = {split: rows for split, rows in dataset or () if split in EVALUATED}
    if not rows:
        return ()
    shown = next(iter(rows.values()))
    return tuple(
        Found(task.training.evaluate(one, rows, config), task.training.demonstrate(one, shown, config))
        # a fixed seed makes the untrained head, and so the metrics before training, repeatable
        for one in (task.models.plain_copy(model, seed=0), model)
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


def _config_of(model: TaskModel, task: Task, settings: Mapping[str, Any], dataset: Any) -> FitConfig:
    """Return the settings with which `kerora.load` builds the model again."""
    if model.preset is None:
        raise ConfigError("The model has no preset to be built from. Write its preset first (kerora pretrain).")
    wrong = next((name for name in settings if not name.startswith("data.")), None)
    if wrong:
        raise ConfigError(f"settings= takes those of the data, such as data.text. Received: {wrong!r}")
    source = {"data.source": str(dataset)} if isinstance(dataset, str | Path) else {}
    dtype = model.backbone.dtype_policy.name
    head = getattr(model, "head", None)
    layers = lora_layers(model)
    parts = trained(model, Names(model, keras_paths=not layers))
    values = {
        "task": task.name,
        "model.preset": str(model.preset.spec),
        "model.max_length": model.max_length,
        "model.precision": dtype.removeprefix("mixed_").partition("_from_")[0],
        "model.quantize": quantized_mode(model),
        "lora.method": parts.method or "lora",
        "lora.bias": "none" if not parts.biases else "all",
        "lora.modules_to_save": [],
        "training.mask_share": model.mask_share,
    }
    if head is not None:
        values["model.head_dropout"] = head.dropout.rate
    return resolve({**values, **source, **settings})


def _check_savable(model: TaskModel, config: FitConfig) -> None:
    """Check that the run gives the same model again.

    Raises:
        ConfigError: it does not.
    """
    updates_of(model)  # an error if they are merged
    frozen = [key for key, variable in changed_weights(model).items() if not variable.trainable]
    if frozen:
        raise ConfigError(
            f"The weight {frozen[0]} differs from its preset, but is not trained now, so a run folder cannot hold it. "
            "Write the changed base with model.save(path, include_base=True), or train on a preset."
        )
    dtype, wanted = model.backbone.dtype_policy.name, backbone_dtype(config)
    if not lora_layers(model) or config.lora.bias != "none" or config.model.quantize:
        return
    if dtype != wanted:
        raise ConfigError(f"The backbone has the dtype {dtype}, and a run would load it as {wanted}. Build it as that.")


def _dataset(given: Any, task: Task, model: TaskModel, config: FitConfig) -> Any:
    """Return the rows of a value of `dataset`, or None."""
    if given is None:
        return None
    if isinstance(given, str | Path | Dataset):
        dataset = given if isinstance(given, Dataset) else task.rows.load(config)
    elif isinstance(given, Mapping) and set(given) <= set(SPLITS) and hasattr(model, "classes"):
        values = getattr(model, "label_values", ())
        splits = {split: _rows(part, split, model) for split, part in given.items()}
        dataset = Dataset("script", tuple(model.classes), splits, values=tuple(values))
    else:
        raise ConfigError(
            "dataset must be a name or path as --data takes it, a data set of kerora.load_dataset, or for a classifier "
            f"a dict of {', '.join(SPLITS)}. Received: {type(given).__name__}"
        )
    if "train" not in dataset.splits:
        # A saved data set begins with its training rows.
        raise ConfigError("dataset has no training rows. Give them too, or name a file with the test rows.")
    if tuple(dataset.classes) != tuple(getattr(model, "classes", ())):
        raise ConfigError(
            f"The data has the classes {', '.join(dataset.classes)}, but the model has "
            f"{', '.join(getattr(model, 'classes', ()))}. Build the model with the classes of the data."
        )
    return dataset


def _rows(part: Any, split: str, model: Any) -> Rows[int]:
    if isinstance(part, Rows):
        return part
    if not isinstance(part, tuple) or len(part) != 2 or not is_raw(part[0]):
        raise ConfigError(f"dataset['{split}'] must be a tuple (texts, labels).")
    raw = raw_rows(*part)
    numbers = [int(number) for number in model.targets_of(raw.labels)]
    texts, pairs = list(raw.texts), None if raw.pairs is None else list(raw.pairs)
    return Rows(texts, [str(number) for number in range(1, len(raw) + 1)], numbers, pairs)


def _history_csv(history: Any, columns: Sequence[str]) -> str:
    """Return history.csv from the history of Keras. Columns that Keras does not record are empty."""
    values = getattr(history, "history", history)
    if not isinstance(values, Mapping):
        raise ConfigError(f"history must be what fit returned, or a dict of lists. Received: {type(history).__name__}")
    count = max((len(column) for column in values.values()), default=0)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for epoch in range(count):
        row = {name: f"{float(values[name][epoch]):.6g}" for name in columns if epoch < len(values.get(name, ()))}
        writer.writerow({**row, "epoch": epoch + 1})
    return stream.getvalue()
