"""Turns an adapter that PEFT trained and saved into a run folder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerora.config import FitConfig, dump_yaml
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset
from kerora.errors import AdapterError, ConfigError
from kerora.evaluation.predictor import write_predictions
from kerora.evaluation.scoring import evaluate_rows
from kerora.lora.files import WEIGHTS_FILE, load_adapter, read_adapter_config, read_tensors, save_adapter
from kerora.lora.inject import lora_layers, summarize
from kerora.lora.layers import LowRankUpdate
from kerora.models.classifier import TextClassifier
from kerora.models.precision import resolve_precision
from kerora.models.presets import Preset, find_preset
from kerora.runfolder import RunFolder, create_run, write_json, write_text
from kerora.training.manifest import describe, now

EVALUATED = ("validation", "test")


def import_peft(
    directory: str | Path, output: str, config: FitConfig, *, evaluate: bool = False, argv: Sequence[str] = ()
) -> RunFolder:
    """Write a run folder from an adapter of PEFT; it evaluates, reports, merges, exports and trains on like any other.

    Args:
        directory: folder with PEFT's adapter_model.safetensors and adapter_config.json.
        output: the run folder to make.
        config: preset, precision and length; with `evaluate` also the data. ``data.class_names`` names the classes.
        evaluate: read the data and record metrics and predictions.
        argv: the command line, for the manifest.

    Raises:
        AdapterError: the adapter does not fit the preset, or has a feature that cannot be carried, named in one line.
        KeroraError: the preset or the data cannot be used; nothing was written.
    """
    folder = Path(directory)
    description = read_adapter_config(folder)
    if description.get("task_type") != "SEQ_CLS":
        raise AdapterError(
            f"{folder} has task_type {description.get('task_type')!r}; what can be imported is SEQ_CLS, a classifier."
        )
    preset = find_preset(config.model.preset)
    dataset = load_dataset(config.data, config.training.seed) if evaluate else None
    classes = _classes(folder, preset, dataset, config.data.class_names)
    model = TextClassifier.from_preset(
        preset,
        classes,
        max_length=config.model.max_length,
        head_dropout=config.model.head_dropout,
        seed=config.training.seed,
    )
    load_adapter(model, folder)
    config = _settled(config, description, model)
    before = {split: evaluate_rows(_base(preset, model), rows)[0] for split, rows in _evaluated(dataset)}
    after = {split: evaluate_rows(model, rows) for split, rows in _evaluated(dataset)}
    run = create_run(output if "/" in output else f"./{output}", config.runs_dir, "imported")
    facts = describe(config, dataset, model, summarize(model, model.head_layers), argv)
    run.update_manifest(**facts, state="running", started=now(), imported_from=folder.resolve().name)
    write_text(run.config, dump_yaml(dataclasses.replace(config, run=None)))
    pairs = dataset is not None and dataset.splits["train"].pairs is not None if dataset else False
    write_json(run.labels, {"classes": list(classes)})
    save_adapter(model, run.adapter, {"pairs": pairs})
    if after:
        write_json(run.metrics, {"before": before, "after": {split: values for split, (values, _) in after.items()}})
        rows_of = dict(_evaluated(dataset))
        write_predictions(
            run.predictions, classes, [(split, rows_of[split], values) for split, (_, values) in after.items()]
        )
    run.update_manifest(state="finished", finished=now())
    return run


def _classes(folder: Path, preset: Preset, dataset: Dataset | None, given: Sequence[str]) -> tuple[str, ...]:
    key = f"base_model.model.{preset.architecture.head.logits}.weight"
    tensors = read_tensors(folder / WEIGHTS_FILE, None)
    if key not in tensors or tensors[key].ndim != 2:
        raise AdapterError(
            f"{folder / WEIGHTS_FILE} holds no classification head: it lacks {key}. Save it with PEFT again."
        )
    count = tensors[key].shape[0]
    own = preset.class_names or ()
    for source, names in (("The data", dataset.classes if dataset else ()), ("--class-names", tuple(given))):
        if names and len(names) != count:
            raise ConfigError(
                f"{source} has {len(names)} classes ({', '.join(names)}), but the adapter's head {count}."
            )
    if dataset is not None:
        return dataset.classes
    return tuple(given) or (own if len(own) == count else tuple(f"LABEL_{number}" for number in range(count)))


def _settled(config: FitConfig, description: dict[str, Any], model: TextClassifier) -> FitConfig:
    """Write the adapter's settings into the run's."""
    layers = lora_layers(model)
    update: LowRankUpdate = layers[0].update
    modules = dict.fromkeys(model.module_names[str(layer._kernel.path).rpartition("/")[0]] for layer in layers)
    lora = dataclasses.replace(
        config.lora,
        rank=int(description["r"]),
        alpha=float(description.get("lora_alpha", 8)),
        dropout=update.dropout,
        targets=tuple(modules),
        bias=description.get("bias", "none"),
        use_rslora=update.use_rslora,
        use_dora=update.magnitude is not None,
    )
    shape = dataclasses.replace(
        config.model, max_length=model.max_length, precision=resolve_precision(config.model.precision)
    )
    return dataclasses.replace(config, lora=lora, model=shape)


def _base(preset: Preset, model: TextClassifier) -> TextClassifier:
    return TextClassifier.from_preset(preset, model.classes, max_length=model.max_length, seed=0)


def _evaluated(dataset: Dataset | None) -> list[tuple[str, Any]]:
    return [] if dataset is None else [(split, rows) for split, rows in dataset if split in EVALUATED]
