"""`kerora.save_run`: a run folder from a model that a script trained."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kerora.data.memory import is_in_memory, parts_in_memory
from kerora.data.rows import Dataset, Rows
from kerora.data.save import save_dataset
from kerora.errors import ConfigError, RunError, listed
from kerora.lora.inject import lora_layers
from kerora.lora.names import Names
from kerora.lora.peft import trained
from kerora.lora.state import changed_weights, quantized_mode, updates_of
from kerora.models.precision import backbone_dtype
from kerora.models.raw_texts import is_raw, raw_rows
from kerora.models.task import TaskModel
from kerora.runfolder import RunFolder, create_run, write_text
from kerora.runs.baseline import add_baseline
from kerora.scripting.request import Request, staged
from kerora.settings.base import shown
from kerora.settings.fit import FitConfig
from kerora.settings.flat import from_flat
from kerora.settings.resolve import resolve
from kerora.tasks.registry import Task, task_of_model
from kerora.training.kept_data import clear_run
from kerora.training.saved_run import evaluated, write_run


def save_run(
    model: TaskModel,
    path: str | Path,
    *,
    dataset: Any = None,
    settings: Mapping[str, Any] | None = None,
    history: Any = None,
    force: bool = False,
    **flat: Any,
) -> RunFolder:
    """Write a run folder from a trained model. All commands that take a run accept it.

    With validation or test rows, the model and its untrained base are evaluated, and `kerora report` shows both.

    Args:
        model: a `TextClassifier`, `TextRegressor` or `CausalLM` with LoRA, or of which all weights or only the head was
            trained.
        path: the run folder to make.
        dataset: the data: a value of ``--data``, what `kerora.load_dataset` returned, or for a classifier the training
            rows in memory or a dict of parts, such as ``{"train": ..., "test": ...}``. A part is ``(texts, labels)`` as
            in ``model.fit``, or another value that `kerora.fit` takes. Its labels are those of `kerora.evaluate`. Rows
            in memory are written into the folder. Default: None, without data. `kerora evaluate RUN --test FILE` then
            adds an evaluation.
        settings: settings of the data by their dotted names, such as ``{"data.text": "body"}``.
        history: what `fit` returned, or its dict, for the curves of the report. Default: None.
        force: replace an earlier run at `path`.
        **flat: settings of the data by the names of their options: ``text="body"``.

    Raises:
        ConfigError: the model is no model of Kerora, or holds changes that a run folder cannot hold.
        AdapterError: LoRA updates are merged, or nothing was trained.
        RunError: the folder exists, or cannot be written.
        DataError: the rows cannot be used.
    """
    _check_call(model, path, force)
    task = task_of_model(model)
    given = {**(settings or {}), **from_flat(flat, call="kerora.save_run")}
    config = _config_of(model, task, given, dataset)
    rows = _dataset(dataset, task, model, config)
    _check_savable(model, config)
    curves = None if history is None else _history_csv(history, task.training.COLUMNS)
    # the input cannot be refused later, so a refusal leaves no folder
    found = evaluated(task, model, rows, config)
    target = str(path)
    run = create_run(target if "/" in target else f"./{target}", config.runs_dir, "saved", force)
    if force:
        clear_run(run, config.data)
    # first, because force=True replaces only a folder with a manifest
    run.update_manifest(state="running")
    if rows is not None and not isinstance(dataset, str | Path):
        save_dataset(rows, run.data)
        data = dataclasses.replace(config.data, source=str(run.data), validation_split=0.0, test_split=0.0)
        config = dataclasses.replace(config, data=data)
    write_run(run, task, model, config, rows, found, saved_by="kerora.save_run")
    if found and rows is not None:
        parts = {split: part for split, part in rows if split in found[1].evaluation.metrics}
        add_baseline(run, task, config, model, rows["train"], parts, found[1].evaluation)
    if curves is not None:
        write_text(run.history, curves)
    return run


def _check_call(model: Any, path: str | Path, force: bool) -> None:
    if not isinstance(model, TaskModel):
        raise ConfigError(
            f"save_run takes a TextClassifier, TextRegressor or CausalLM. Received: {type(model).__name__}. For any "
            "other Keras model use kerora.save_adapter."
        )
    if Path(path).is_dir() and any(Path(path).iterdir()) and not force:
        raise RunError(
            f"{path} exists and is not empty. Choose another path, or replace the run in it with force=True."
        )


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
    elif hasattr(model, "classes") and is_in_memory(given):
        parts = parts_in_memory(given) or {"train": given}
        splits = {split: _rows(part, split, task, model, config) for split, part in parts.items()}
        dataset = Dataset("script", tuple(model.classes), splits, values=tuple(model.label_values))
    else:
        raise ConfigError(
            "dataset must be a name or path as --data takes it, a data set of kerora.load_dataset, or for a classifier "
            f"rows in memory. Received: {shown(given)}"
        )
    if "train" not in dataset.splits:
        # A saved data set begins with its training rows.
        raise ConfigError("dataset has no training rows. Give them too, or name a file with the test rows.")
    if tuple(dataset.classes) != tuple(getattr(model, "classes", ())):
        raise ConfigError(
            f"The data has the classes {listed(dataset.classes)}, but the model has "
            f"{listed(getattr(model, 'classes', ()))}. Build the model with the classes of the data."
        )
    return dataset


def _rows(part: Any, split: str, task: Task, model: Any, config: FitConfig) -> Any:
    """Return the rows of one part with the targets that the model learns."""
    if isinstance(part, Rows):
        return part
    if isinstance(part, tuple) and len(part) == 2 and is_raw(part[0]):
        raw = raw_rows(*part, several=model.several_labels)
        if raw.labels is None:
            raise ConfigError(f"{split}: the texts have no labels. Give (texts, labels).")
        return model.rows_of(raw)
    with staged(Request(config, {split: part})) as stage:
        return task.rows.load_part(getattr(stage.config.data, split), stage.config, task.models.head_of(model), split)


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
