"""The whole story of a run: config -> data -> model -> LoRA -> `model.fit` -> run folder."""

import dataclasses
import importlib.metadata
import math
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import keras
import numpy as np
import torch
from rich.console import Console

from kerora.backend import set_random_seed
from kerora.config import FitConfig, TrainingConfig, dump_yaml
from kerora.data.batches import Batches, balanced_class_weights
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset
from kerora.data.tokens import cached_tokens
from kerora.errors import ConfigError, Interrupted, RunError, TrainingError
from kerora.evaluation.metrics import classification_metrics, softmax
from kerora.evaluation.predictor import predict_logits, read_config, write_predictions
from kerora.lora.files import save_adapter
from kerora.lora.inject import LoraSummary, enable_lora
from kerora.models.classifier import TextClassifier
from kerora.models.precision import resolve_precision
from kerora.models.presets import find_preset
from kerora.runfolder import RunFolder, create_run, read_json, write_json, write_text
from kerora.training.callbacks import ClassificationReport, EarlyStopping, History
from kerora.training.checkpoint import Checkpoint, Checkpointer, latest_checkpoint, restore_callbacks
from kerora.training.interrupt import InterruptFlag, interrupt_flag
from kerora.training.losses import CrossEntropy
from kerora.training.position import Position
from kerora.training.progress import Progress
from kerora.training.schedules import WarmupSchedule, warmup_updates
from kerora.training.step import TrainStep
from kerora.version import __version__

PACKAGES = ("keras", "keras-hub", "torch", "numpy", "scikit-learn", "tokenizers", "safetensors")
EVALUATED = ("validation", "test")


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
    console: Console | None = None,
    argv: Sequence[str] = (),
) -> FitResult:
    """Fine-tune a classifier and write its run folder.

    Args:
        config: the settings; None takes every default.
        force: replace an existing run of the same name.
        console: where progress is shown; None shows none.
        argv: the command line, for the manifest.

    Raises:
        KeroraError: an input cannot be used, in which case nothing was written, or training
            failed or was interrupted, in which case the last good state was saved.
    """
    parts = assemble(config or FitConfig())
    name = f"{parts.model.preset.name}-{parts.dataset.name}-r{parts.config.lora.rank}"
    run = create_run(parts.config.run, parts.config.runs_dir, name, force)
    if force:
        _clear(run)
    write_text(run.config, dump_yaml(dataclasses.replace(parts.config, run=None)))
    run.update_manifest(**_manifest(parts, argv), state="running", started=_now())
    return _guarded(run, lambda flag: _train(parts, run, None, console, flag))


def resume(path: str, *, console: Console | None = None) -> FitResult:
    """Go on with a stopped run from its newest checkpoint; it ends as if it had not been stopped.

    Raises:
        RunError: not a run, finished already, or its data or base model changed since.
    """
    run = RunFolder.open(path)
    manifest = run.read_manifest()
    if manifest.get("state") == "finished":
        raise RunError(f"{run.path} is finished. Start a new run to train further.")
    parts = assemble(read_config(run))
    _check_unchanged(run, manifest, parts)
    run.update_manifest(state="running")
    return _guarded(run, lambda flag: _train(parts, run, latest_checkpoint(run.checkpoints), console, flag))


def assemble(config: FitConfig) -> Parts:
    """Load data and model and enable LoRA; writes nothing.

    Seeds are set before anything random, so that the same settings give the same weights.
    """
    set_random_seed(config.training.seed)
    preset = find_preset(config.model.preset)
    dataset = load_dataset(config.data, config.training.seed)
    config = _resolved(config, dataset)
    model = TextClassifier.from_preset(
        preset,
        dataset.classes,
        max_length=config.model.max_length,
        dtype=config.model.precision,
        head_dropout=config.model.head_dropout,
        seed=config.training.seed,
    )
    lora = config.lora
    summary = enable_lora(
        model, lora.rank, lora.alpha, lora.dropout, lora.targets, train_bias=lora.train_bias, seed=config.training.seed
    )
    return Parts(config, dataset, model, summary)


def compile_for_training(model: keras.Model, config: TrainingConfig, step: TrainStep) -> int:
    """Compile a classifier with AdamW, schedule, clipping, loss and step; return the number of epochs."""
    total = config.max_steps or config.epochs * step.updates_per_epoch
    rate = WarmupSchedule(config.learning_rate, total, warmup_updates(config.warmup, total), config.schedule)
    optimizer: Any = keras.optimizers.AdamW(
        learning_rate=rate, weight_decay=config.weight_decay, epsilon=1e-8, global_clipnorm=config.clip_norm or None
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if model.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss=CrossEntropy(config.label_smoothing), metrics=["accuracy"], step=step)
    return math.ceil(total / step.updates_per_epoch)


def _train(
    parts: Parts, run: RunFolder, checkpoint: Checkpoint | None, console: Console | None, flag: InterruptFlag
) -> FitResult:
    config, model = parts.config.training, parts.model
    tables = {split: cached_tokens(rows, model.tokenizer, model.max_length) for split, rows in parts.dataset}
    before = _metrics_before(parts, run, tables)
    batches = _training_batches(parts, tables["train"])
    step = TrainStep(batches.batches_per_epoch, config.accumulate, config.seed)
    epochs = compile_for_training(model, config, step)
    history = History(run.history, batches)
    stopping = EarlyStopping(config.monitor, config.patience) if config.early_stopping else None
    saver = Checkpointer(run.checkpoints, step, history, stopping, config.save_steps, flag)
    callbacks: list[Any] = [Position(batches, step, config.max_steps, checkpoint)]
    if "validation" in tables:
        validation = _evaluation_batches(parts, "validation", tables["validation"])
        callbacks.append(ClassificationReport(validation, parts.dataset.classes))
    callbacks += [item for item in (stopping, history, saver) if item is not None]
    if console is not None:
        callbacks.append(Progress(batches, console, total=batches.batches_per_epoch * epochs))
    if checkpoint is not None:
        checkpoint.restore_model(model)
        restore_callbacks(checkpoint, model, history, stopping, saver)
    try:
        _run_fit(model, batches, epochs, checkpoint, callbacks)
    except TrainingError:
        # the weights are still those of the last sound update
        write_adapter(parts, run)
        raise
    finally:
        _close(callbacks)
        saver.finish()
    return _conclude(parts, run, tables, before, history, stopping)


def _run_fit(
    model: keras.Model, batches: Batches, epochs: int, checkpoint: Checkpoint | None, callbacks: list[Any]
) -> None:
    first = 0 if checkpoint is None else checkpoint.epoch
    last = first if checkpoint is not None and checkpoint.state["done"] else epochs
    with warnings.catch_warnings():
        # a resumed epoch is shorter than Keras was told: that is how it ends where it should
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        model.fit(batches, initial_epoch=first, epochs=last, callbacks=callbacks, verbose=0, shuffle=False)


def _close(callbacks: list[Any]) -> None:
    for callback in callbacks:
        if isinstance(callback, Progress):
            callback.close()


def _training_batches(parts: Parts, table: Any) -> Batches:
    config, rows = parts.config.training, parts.dataset.splits["train"]
    weights = None
    if config.class_weights == "balanced":
        weights = balanced_class_weights(rows.labels, len(parts.dataset.classes))
    return Batches(
        table,
        rows.labels,
        batch_size=config.batch_size,
        pad_id=parts.model.tokenizer.pad_id,
        seed=config.seed,
        class_weights=weights,
    )


def _evaluation_batches(parts: Parts, split: str, table: Any) -> Batches:
    return Batches(
        table,
        parts.dataset.splits[split].labels,
        batch_size=parts.config.training.evaluation_batch_size,
        pad_id=parts.model.tokenizer.pad_id,
        shuffle=False,
    )


def _metrics_before(parts: Parts, run: RunFolder, tables: dict[str, Any]) -> dict[str, Any]:
    if run.metrics.is_file():  # a resumed run: the model is no longer untouched
        before: dict[str, Any] = read_json(run.metrics)["before"]
        return before
    before = {split: metrics for split, (metrics, _) in _evaluate(parts, tables).items()}
    write_json(run.metrics, {"before": before})
    return before


def _evaluate(parts: Parts, tables: dict[str, Any]) -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    results = {}
    for split in EVALUATED:
        if split in tables:
            logits = predict_logits(parts.model, tables[split], parts.config.training.evaluation_batch_size)
            probabilities = softmax(logits)
            labels = np.asarray(parts.dataset.splits[split].labels)
            metrics = classification_metrics(labels, probabilities, parts.dataset.classes)
            results[split] = (metrics, probabilities)
    return results


def _conclude(
    parts: Parts,
    run: RunFolder,
    tables: dict[str, Any],
    before: dict[str, Any],
    history: History,
    stopping: EarlyStopping | None,
) -> FitResult:
    write_adapter(parts, run)
    after = _evaluate(parts, tables)
    metrics = {"before": before, "after": {split: values for split, (values, _) in after.items()}}
    rows = [(split, parts.dataset.splits[split], probabilities) for split, (_, probabilities) in after.items()]
    write_predictions(run.predictions, parts.dataset.classes, rows)
    write_json(run.metrics, metrics)
    seconds = sum(row["seconds"] for row in history.rows)
    best = len(history.rows) if stopping is None or stopping.best_epoch is None else stopping.best_epoch + 1
    run.update_manifest(state="finished", finished=_now(), training_seconds=seconds, best_epoch=best)
    return FitResult(run, metrics, history.rows, parts.summary, seconds)


def write_adapter(parts: Parts, run: RunFolder) -> None:
    """Write the adapter folder: weights, description, class names."""
    preset = parts.model.preset
    base = {
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": parts.config.model.preset,
        "preset_kind": preset.kind,
        "preset_fingerprint": preset.fingerprint,
    }
    write_json(run.labels, {"classes": list(parts.dataset.classes)})
    save_adapter(parts.model, run.adapter, base)


def _guarded(run: RunFolder, work: Callable[[InterruptFlag], FitResult]) -> FitResult:
    """Do the work with signals collected, and leave the run's true state in the manifest."""
    started = time.perf_counter()
    try:
        with interrupt_flag() as flag:
            result = work(flag)
    except (Interrupted, KeyboardInterrupt):
        run.update_manifest(state="stopped", finished=_now())
        raise
    except BaseException as error:
        run.update_manifest(state="failed", finished=_now(), error=" ".join(str(error).split()))
        raise
    run.update_manifest(seconds=time.perf_counter() - started)
    return result


def _resolved(config: FitConfig, dataset: Dataset) -> FitConfig:
    """Settle what depends on hardware and data, so that config.yaml tells what was done."""
    model = dataclasses.replace(config.model, precision=resolve_precision(config.model.precision))
    training = config.training
    if "validation" not in dataset.splits and training.early_stopping:
        training = dataclasses.replace(training, early_stopping=False)
    known = {f"val_{name}" for name in ("loss", "accuracy", "macro_f1", "weighted_f1", "mcc", "roc_auc", "ece")}
    known |= {f"val_{average}_{name}" for average in ("macro", "weighted") for name in ("precision", "recall")}
    known |= {"loss", "accuracy"}
    if training.early_stopping and training.monitor not in known:
        raise ConfigError(f"Unknown --monitor '{training.monitor}'. Known: {', '.join(sorted(known))}.")
    return dataclasses.replace(config, model=model, training=training)


def _manifest(parts: Parts, argv: Sequence[str]) -> dict[str, Any]:
    preset, summary = parts.model.preset, parts.summary
    return {
        "kerora": __version__,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "argv": list(argv),
        "seed": parts.config.training.seed,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "precision": parts.config.model.precision,
        "data": {
            "name": parts.dataset.name,
            "splits": parts.dataset.fingerprints(),
            "skipped": parts.dataset.skipped,
        },
        "preset": {
            "name": preset.name,
            "kind": preset.kind,
            "directory": str(preset.directory.resolve()),
            "fingerprint": preset.fingerprint,
        },
        "parameters": {
            "trainable": summary.trainable,
            "lora": summary.lora,
            "head": summary.head,
            "total": summary.total,
        },
    }


def _check_unchanged(run: RunFolder, manifest: dict[str, Any], parts: Parts) -> None:
    now = {split: facts["sha256"] for split, facts in parts.dataset.fingerprints().items()}
    then = {split: facts["sha256"] for split, facts in manifest.get("data", {}).get("splits", {}).items()}
    if now != then:
        changed = ", ".join(sorted(split for split in now | then if now.get(split) != then.get(split)))
        raise RunError(f"The data of {run.path} changed since it started ({changed}). Restore it or start a new run.")
    if manifest.get("preset", {}).get("fingerprint") != parts.model.preset.fingerprint:
        raise RunError(f"The base model of {run.path} changed since it started. Restore it or start a new run.")


def _clear(run: RunFolder) -> None:
    """Remove the files of the run that is replaced, and nothing else."""
    for path in (run.history, run.metrics, run.predictions, run.manifest):
        path.unlink(missing_ok=True)
    for folder in (run.adapter, run.checkpoints, run.report):
        shutil.rmtree(folder, ignore_errors=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
