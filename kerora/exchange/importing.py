"""Turns an adapter that PEFT trained and saved into a run folder."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.compat import kernel_of
from kerora.data.documents import Documents
from kerora.data.language import load_documents
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset
from kerora.errors import AdapterError, ConfigError
from kerora.evaluation.language import continue_prompts, evaluate_documents
from kerora.evaluation.predictions import write_predictions
from kerora.evaluation.samples import Sample, sample_prompts, write_samples
from kerora.evaluation.scoring import evaluate_rows
from kerora.lora.files import CONFIG_FILE, WEIGHTS_FILE, load_adapter, read_adapter_config, read_tensors, save_adapter
from kerora.lora.inject import lora_layers, summarize
from kerora.lora.layers import LowRankUpdate
from kerora.models.causal_lm import CausalLM
from kerora.models.classifier import TextClassifier
from kerora.models.precision import resolve_precision
from kerora.models.presets import Preset, find_preset
from kerora.models.task import Task
from kerora.runfolder import RunFolder, create_run, write_json, write_text
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import dump_yaml
from kerora.training.manifest import describe, now

EVALUATED = ("validation", "test")
TASKS = {"SEQ_CLS": "classification", "CAUSAL_LM": "causal-lm"}
"""What PEFT calls the tasks."""


@dataclass(frozen=True)
class _Parts:
    """What a run is made of, before anything is written.

    Attributes:
        model: the model with the adapter.
        dataset: the rows that it was evaluated on.
        facts: the task's keys of adapter_config.json.
        metrics: content of metrics.json.
        write: writes the task's other files into the run.
    """

    model: Task
    dataset: Dataset | None
    facts: dict[str, Any]
    metrics: dict[str, Any] | None
    write: Callable[[RunFolder], None]


def import_peft(
    directory: str | Path, output: str, config: FitConfig, *, evaluate: bool = False, argv: Sequence[str] = ()
) -> RunFolder:
    """Write a run folder from an adapter of PEFT; it evaluates, reports, merges, exports and trains on like any other.

    Args:
        directory: folder with PEFT's adapter_model.safetensors and adapter_config.json.
        output: the run folder to make.
        config: preset, precision and length; with `evaluate` also the data. ``data.class_names`` names the classes;
            ``language.turns`` or ``language.prompt`` say, where there is no data, what a language model's texts are.
        evaluate: read the data and record metrics and predictions.
        argv: the command line, for the manifest.

    Raises:
        AdapterError: the adapter does not fit the preset, or has a feature that cannot be carried, named in one line.
        KeroraError: the preset or the data cannot be used; nothing was written.
    """
    folder = Path(directory)
    if not (folder / CONFIG_FILE).is_file():
        raise AdapterError(f"{folder} holds no {CONFIG_FILE}. Give the folder that PEFT's save_pretrained wrote.")
    description = read_adapter_config(folder)
    task = TASKS.get(str(description.get("task_type")))
    if task is None:
        raise AdapterError(
            f"{folder} has task_type {description.get('task_type')!r}; what can be imported is SEQ_CLS, a classifier, "
            "and CAUSAL_LM, a language model."
        )
    config = dataclasses.replace(config, task=task)
    parts = (_classifier if task == "classification" else _language_model)(folder, config, evaluate)
    config = _settled(config, description, parts.model)
    run = create_run(output if "/" in output else f"./{output}", config.runs_dir, "imported")
    facts = describe(config, parts.dataset, parts.model, summarize(parts.model, parts.model.head_layers), argv)
    run.update_manifest(**facts, state="running", started=now(), imported_from=folder.resolve().name)
    write_text(run.config, dump_yaml(dataclasses.replace(config, run=None)))
    save_adapter(parts.model, run.adapter, parts.facts)
    if parts.metrics is not None:
        write_json(run.metrics, parts.metrics)
    parts.write(run)
    run.update_manifest(state="finished", finished=now())
    return run


def _classifier(folder: Path, config: FitConfig, evaluate: bool) -> _Parts:
    preset = find_preset(config.model.preset)
    dataset = load_dataset(config.data, config.training.seed) if evaluate else None
    classes = _classes(folder, preset, dataset, config.data.class_names)
    options: dict[str, Any] = {"max_length": config.model.max_length, "head_dropout": config.model.head_dropout}
    model = TextClassifier.from_preset(preset, classes, seed=config.training.seed, **options)
    load_adapter(model, folder)
    evaluated = _evaluated(dataset)
    base = TextClassifier.from_preset(preset, classes, max_length=model.max_length, seed=0) if evaluated else model
    before = {split: evaluate_rows(base, rows)[0] for split, rows in evaluated}
    after = {split: evaluate_rows(model, rows) for split, rows in evaluated}
    metrics = {"before": before, "after": {split: values for split, (values, _) in after.items()}}
    predictions = [(split, rows, after[split][1]) for split, rows in evaluated]

    def write(run: RunFolder) -> None:
        write_json(run.labels, {"classes": list(classes)})
        if predictions:
            write_predictions(run.predictions, classes, predictions)

    pairs = dataset is not None and dataset["train"].pairs is not None
    return _Parts(model, dataset, {"pairs": pairs}, metrics if evaluated else None, write)


def _language_model(folder: Path, config: FitConfig, evaluate: bool) -> _Parts:
    preset, language = find_preset(config.model.preset), config.language
    if not preset.architecture.is_decoder:
        raise AdapterError(
            f"{folder} holds a language model's adapter, but {preset.spec} is {preset.architecture.title}, an encoder. "
            "Give the adapter's base with --preset."
        )
    dataset = load_documents(config.data, language, config.training.seed) if evaluate else None
    model = CausalLM.from_preset(preset, max_length=config.model.max_length)
    base = CausalLM.from_preset(preset, max_length=config.model.max_length) if dataset else model
    load_adapter(model, folder)
    if dataset is None:
        form = "turns" if language.turns else "completion" if language.prompt else "text"
        return _Parts(model, None, {"text_form": form}, None, lambda run: None)
    parts = {split: rows for split, rows in _evaluated(dataset) if isinstance(rows, Documents)}
    metrics: dict[str, Any] = {}
    continued: list[list[str]] = []
    chosen = sample_prompts(next(iter(parts.values())), language.samples) if parts else []
    for when, subject in (("before", base), ("after", model)):
        metrics[when] = {split: evaluate_documents(subject, rows, 64, language.stride) for split, rows in parts.items()}
        continued.append(continue_prompts(subject, [prompt for _, prompt in chosen], language.sample_tokens))
    samples = [
        Sample(sample.id, sample.prompt, before, after)
        for (sample, _), before, after in zip(chosen, *continued, strict=True)
    ]
    train = dataset["train"]
    assert isinstance(train, Documents)
    facts = {"text_form": train.form}
    return _Parts(model, dataset, facts, metrics if parts else None, lambda run: write_samples(run.samples, samples))


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


def _settled(config: FitConfig, description: dict[str, Any], model: Task) -> FitConfig:
    """Write the adapter's settings into the run's."""
    layers = lora_layers(model)
    update: LowRankUpdate = layers[0].update
    # GPT-2's query, key and value are one module there, of one rank
    updates = {model.module_names[str(kernel_of(layer).path).rpartition("/")[0]]: layer.update for layer in layers}
    rank, alpha = int(description["r"]), float(description.get("lora_alpha", 8))
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
        config.model, max_length=model.max_length, precision=resolve_precision(config.model.precision)
    )
    return dataclasses.replace(config, lora=lora, model=shape)


def _more_modules(description: dict[str, Any], model: Task) -> tuple[str, ...]:
    """Return the modules that were trained in full beside the head, which is so always."""
    head = model.preset.architecture.head
    own = {"classifier", "score", head.logits}  # PEFT names the first two whatever the model has
    own |= set() if head.from_pooler else {head.dense}
    names = description.get("modules_to_save") or ()
    return tuple(name for name in names if not any(f"{path}.".startswith(f"{name}.") for path in own))


def _evaluated(dataset: Dataset | None) -> list[tuple[str, Any]]:
    return [] if dataset is None else [(split, rows) for split, rows in dataset if split in EVALUATED]
