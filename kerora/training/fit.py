"""The whole story of a run: config -> data -> model -> LoRA -> `model.fit` -> run folder."""

import dataclasses
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerora.backend import set_random_seed
from kerora.config import FitConfig, TrainingConfig, dump_yaml
from kerora.data.batches import Batches, balanced_class_weights
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset
from kerora.errors import RunError, TrainingError
from kerora.evaluation.predictor import evaluate_rows, read_config, write_predictions
from kerora.lora.files import round_adapter, save_adapter
from kerora.lora.inject import LoraSummary
from kerora.lora.quantize import quantize
from kerora.models.classifier import TextClassifier
from kerora.models.precision import backbone_dtype
from kerora.models.presets import find_preset
from kerora.runfolder import RunFolder, create_run, read_json, write_json, write_text
from kerora.training.adapt import adapt, check_quantize
from kerora.training.callbacks import ClassificationReport, EarlyStopping, History
from kerora.training.checkpoint import Checkpoint, Checkpointer, latest_checkpoint, restore_callbacks
from kerora.training.defaults import (
    default_epochs,
    default_learning_rate,
    settle_for_data,
    settle_for_model,
)
from kerora.training.interrupt import InterruptFlag
from kerora.training.loop import guarded, make_optimizer, run_fit
from kerora.training.losses import CrossEntropy
from kerora.training.manifest import check_not_running, check_unchanged, describe, now, this_process
from kerora.training.position import Position
from kerora.training.progress import Progress, Silent
from kerora.training.step import TrainStep

EVALUATED = ("validation", "test")
METHOD_TITLES = {"lora": "LoRA rank {rank}", "full": "Full fine-tuning", "head": "Head alone"}


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        run: the run folder.
        metrics: the contents of metrics.json.
        history: the rows of history.csv.
        parameters: counts of trainable and of all weights.
        seconds: training time, without evaluation and start-up.
    """

    run: RunFolder
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    parameters: LoraSummary
    seconds: float


@dataclass
class Parts:
    """What a run is made of, before anything is written."""

    config: FitConfig
    dataset: Dataset
    model: TextClassifier
    summary: LoraSummary


def fit(
    config: FitConfig | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    argv: Sequence[str] = (),
) -> FitResult:
    """Fine-tune a classifier and write its run folder.

    Args:
        config: the settings; None takes every default.
        force: replace an existing run of the same name.
        progress: shows what happens; None shows nothing.
        argv: the command line, for the manifest.

    Raises:
        KeroraError: an input cannot be used, in which case nothing was written, or training
            failed or was interrupted, in which case the last good state was saved.
    """
    parts = assemble(config or FitConfig())
    method = parts.config.lora.method
    name = (
        f"{parts.model.preset.name}-{parts.dataset.name}-{f'r{parts.config.lora.rank}' if method == 'lora' else method}"
    )
    run = create_run(parts.config.run, parts.config.runs_dir, name, force)
    if force:
        _clear(run)
    # first the file that makes the folder a run, so that --force can replace whatever a full disk leaves
    manifest = describe(parts.config, parts.dataset, parts.model, parts.summary, argv)
    run.update_manifest(**manifest, state="running", started=now(), process=this_process())

    def work(flag: InterruptFlag) -> FitResult:
        write_text(run.config, dump_yaml(dataclasses.replace(parts.config, run=None)))
        return _train(parts, run, None, progress or Silent(), flag)

    return guarded(run, work)


def resume(path: str, *, progress: Progress | None = None) -> FitResult:
    """Go on with a stopped run from its newest checkpoint; it ends as if it had not been stopped.

    Raises:
        RunError: not a run, finished already, being trained by another process, or its data or
            base model changed since.
    """
    run = RunFolder.open(path)
    if run.read_manifest().get("state") == "finished":
        raise RunError(f"{run.path} is finished. Start a new run to train further.")
    check_not_running(run)
    parts = assemble(read_config(run))
    check_unchanged(run, parts.dataset, parts.model)
    run.update_manifest(state="running", process=this_process())
    return guarded(run, lambda flag: _train(parts, run, latest_checkpoint(run.checkpoints), progress or Silent(), flag))


def assemble(config: FitConfig) -> Parts:
    """Load data and model and enable LoRA; writes nothing.

    Seeds are set before anything random, so that the same settings give the same weights.
    """
    set_random_seed(config.training.seed)
    preset = find_preset(config.model.preset)
    dataset = load_dataset(config.data, config.training.seed)
    config = settle_for_data(config, dataset)
    model = TextClassifier.from_preset(
        preset,
        dataset.classes,
        max_length=config.model.max_length,
        dtype=backbone_dtype(config),
        head_dropout=config.model.head_dropout,
        seed=config.training.seed,
    )
    check_quantize(config)
    if config.model.quantize:
        quantize(model, config.model.quantize)
    summary = adapt(model, config.lora, config.training.seed)
    return Parts(settle_for_model(config, model), dataset, model, summary)


def compile_for_training(model: TextClassifier, config: TrainingConfig, step: TrainStep, ratio: float = 1.0) -> int:
    """Compile a classifier with AdamW, schedule, clipping, loss and step; return the number of epochs.

    Args:
        model: the classifier.
        config: settings of the training.
        step: the training step.
        ratio: learning rate of B as a multiple of A's.
    """
    epochs = config.epochs or default_epochs(step.updates_per_epoch)
    peak = config.learning_rate or default_learning_rate(model.backbone.hidden_dim)
    total = config.max_steps or epochs * step.updates_per_epoch
    optimizer = make_optimizer(config, peak, total, ratio)
    if model.backbone.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss=CrossEntropy(config.label_smoothing), metrics=["accuracy"], step=step)
    return math.ceil(total / step.updates_per_epoch)


def _train(
    parts: Parts, run: RunFolder, checkpoint: Checkpoint | None, progress: Progress, flag: InterruptFlag
) -> FitResult:
    config, model = parts.config.training, parts.model
    progress.note(_heading(parts))
    progress.note("Evaluating the untouched model")
    before = _metrics_before(parts, run)
    batches = _training_batches(parts)
    step = TrainStep(batches.batches_per_epoch, config.accumulate, config.seed)
    epochs = compile_for_training(model, config, step, parts.config.lora.loraplus_lr_ratio)
    history = History(run.history, batches)
    stopping = EarlyStopping(config.monitor, config.patience) if config.early_stopping else None
    saver = Checkpointer(run.checkpoints, step, history, stopping, config.save_steps, flag)
    callbacks: list[Any] = [Position(batches, step, config.max_steps, checkpoint)]
    if "validation" in parts.dataset.splits:
        validation = model.batches(parts.dataset["validation"], batch_size=config.evaluation_batch_size)
        callbacks.append(ClassificationReport(validation, parts.dataset.classes))
    progress.follow(batches, min(epochs * len(batches), (config.max_steps or sys.maxsize) * config.accumulate))
    callbacks += [item for item in (stopping, history, saver, progress) if item is not None]
    if checkpoint is not None:
        checkpoint.restore_model(model)
        restore_callbacks(checkpoint, model, history, stopping, saver)
    try:
        with flag.hold():
            run_fit(model, batches, epochs, checkpoint, callbacks)
    except TrainingError:
        # the weights are still those of the last sound update
        write_adapter(parts, run)
        raise
    finally:
        progress.close()
        saver.finish()
    progress.note("Evaluating the fine-tuned model")
    return _conclude(parts, run, before, history, stopping)


def _heading(parts: Parts) -> str:
    config, dataset = parts.config, parts.dataset
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset)
    skipped = sum(dataset.skipped.values())
    dropped = f"; {skipped:,} bad rows skipped" if skipped else ""
    lines = [
        f"Data: {dataset.name}, {rows} rows, {len(dataset.classes)} classes{dropped}",
        f"Model: {parts.model.preset.name} ({parts.model.preset.kind}), {config.model.precision}",
        f"{METHOD_TITLES[config.lora.method].format(rank=config.lora.rank)}: {parts.summary}",
    ]
    return "\n".join(lines)


def _training_batches(parts: Parts) -> Batches:
    config, rows = parts.config.training, parts.dataset["train"]
    balanced = config.class_weights == "balanced"
    return parts.model.batches(
        rows,
        batch_size=config.batch_size,
        shuffle=True,
        seed=config.seed,
        class_weights=balanced_class_weights(rows.labels, len(parts.dataset.classes)) if balanced else None,
    )


def _metrics_before(parts: Parts, run: RunFolder) -> dict[str, Any]:
    if run.metrics.is_file():  # a resumed run: the model is no longer untouched
        before: dict[str, Any] = read_json(run.metrics)["before"]
        return before
    before = {split: metrics for split, (metrics, _) in _evaluate(parts).items()}
    write_json(run.metrics, {"before": before})
    return before


def _evaluate(parts: Parts) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    size = parts.config.training.evaluation_batch_size
    return {
        split: evaluate_rows(parts.model, rows, size, cache=True) for split, rows in parts.dataset if split in EVALUATED
    }


def _conclude(
    parts: Parts,
    run: RunFolder,
    before: dict[str, Any],
    history: History,
    stopping: EarlyStopping | None,
) -> FitResult:
    write_adapter(parts, run)
    after = _evaluate(parts)
    metrics = {"before": before, "after": {split: values for split, (values, _) in after.items()}}
    rows = [(split, parts.dataset.splits[split], probabilities) for split, (_, probabilities) in after.items()]
    write_predictions(run.predictions, parts.dataset.classes, rows)
    write_json(run.metrics, metrics)
    seconds = sum(row["seconds"] for row in history.rows)
    best = len(history.rows) if stopping is None or stopping.best_epoch is None else stopping.best_epoch + 1
    run.update_manifest(state="finished", finished=now(), training_seconds=seconds, best_epoch=best)
    return FitResult(run, metrics, history.rows, parts.summary, seconds)


def write_adapter(parts: Parts, run: RunFolder) -> None:
    """Write the adapter folder: weights, description, class names."""
    facts = {"pairs": parts.dataset["train"].pairs is not None}
    dtype = parts.config.lora.adapter_dtype
    round_adapter(parts.model, dtype)
    write_json(run.labels, {"classes": list(parts.dataset.classes)})
    save_adapter(parts.model, run.adapter, facts, dtype=dtype)


def _clear(run: RunFolder) -> None:
    """Remove the files of the run that is replaced, and nothing else."""
    for path in (run.history, run.metrics, run.predictions, run.manifest):
        path.unlink(missing_ok=True)
    for folder in (run.adapter, run.checkpoints, run.report, run.evaluations):
        shutil.rmtree(folder, ignore_errors=True)
