"""The whole story of a run: config -> data -> model -> LoRA -> `model.fit` -> run folder."""

import dataclasses
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerora.backend import set_random_seed
from kerora.data.batches import Batches
from kerora.errors import RunError, TrainingError
from kerora.lora.files import round_adapter, save_adapter
from kerora.lora.inject import LoraSummary
from kerora.lora.quantize import quantize
from kerora.models.presets import find_preset
from kerora.models.task import Task
from kerora.runfolder import RunFolder, create_run, read_json, write_json, write_text
from kerora.runs.open import read_config
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import dump_yaml
from kerora.training.adapt import adapt, check_for_task, check_quantize
from kerora.training.callbacks import History
from kerora.training.checkpoint import Checkpoint, Checkpointer, latest_checkpoint, restore_callbacks
from kerora.training.classification import Classification
from kerora.training.defaults import (
    default_epochs,
    default_learning_rate,
    settle_for_data,
    settle_for_model,
)
from kerora.training.interrupt import InterruptFlag
from kerora.training.language import LanguageModelling
from kerora.training.loop import guarded, make_optimizer, run_fit
from kerora.training.manifest import check_not_running, check_unchanged, describe, now, this_process
from kerora.training.position import Position
from kerora.training.progress import Progress, Silent
from kerora.training.step import TrainStep
from kerora.training.stopping import EarlyStopping, Noise
from kerora.training.tasks import FitTask, Parts

TASKS: dict[str, FitTask] = {"classification": Classification(), "causal-lm": LanguageModelling()}
"""What can be trained, by the setting `task`."""
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


def fit(
    config: FitConfig | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    argv: Sequence[str] = (),
) -> FitResult:
    """Fine-tune a classifier or a language model and write its run folder.

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
    weights = {} if parts.quantised is None else {"base_weights": parts.quantised.to_dict()}
    run.update_manifest(**manifest, **weights, state="running", started=now(), process=this_process())

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
    task = TASKS[config.task]
    preset = find_preset(config.model.preset)
    dataset = task.load(config)
    config = settle_for_data(config, dataset)
    check_quantize(config)
    check_for_task(config)
    model = task.build(config, preset, dataset)
    quantised = quantize(model, config.model.quantize) if config.model.quantize else None
    summary = adapt(model, config.lora, config.training.seed)
    batches = task.training_batches(config, dataset, model)
    return Parts(settle_for_model(config, model, batches), dataset, model, summary, batches, quantised)


def compile_for_training(model: Task, config: FitConfig, step: TrainStep) -> int:
    """Compile a model with AdamW, schedule, clipping, its task's loss and a step; return the number of epochs."""
    training = config.training
    epochs = training.epochs or default_epochs(step.updates_per_epoch)
    peak = training.learning_rate or default_learning_rate(model.backbone.hidden_dim, config.lora.method)
    total = training.max_steps or epochs * step.updates_per_epoch
    optimizer = make_optimizer(training, peak, total, config.lora.loraplus_lr_ratio)
    if model.backbone.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    TASKS[config.task].compile(model, config, optimizer, step)
    return math.ceil(total / step.updates_per_epoch)


@dataclass
class Loop:
    """A training that is ready for `model.fit`: the compiled model's batches and callbacks.

    Attributes:
        batches: the training batches.
        step: the train step.
        epochs: passes over the batches.
        validation: measures the validation part at each epoch's end; None where there is none.
        stopping: early stopping, or None.
        callbacks: what must stand first in the list of callbacks, `validation` included and `stopping` not.
    """

    batches: Batches
    step: TrainStep
    epochs: int
    validation: keras.callbacks.Callback | None
    stopping: EarlyStopping | None
    callbacks: list[Any]


def make_loop(parts: Parts, checkpoint: Checkpoint | None = None) -> Loop:
    """Compile the model and make the callbacks that every training has."""
    config = parts.config.training
    step = TrainStep(parts.batches.batches_per_epoch, config.accumulate, config.seed)
    epochs = compile_for_training(parts.model, parts.config, step)
    callbacks: list[Any] = [Position(parts.batches, step, config.max_steps, checkpoint)]
    validation = TASKS[parts.config.task].validation(parts) if "validation" in parts.dataset.splits else None
    noise = validation if isinstance(validation, Noise) else None
    stopping = EarlyStopping(str(config.monitor), config.patience, noise=noise) if config.early_stopping else None
    if validation is not None:
        callbacks.append(validation)
    return Loop(parts.batches, step, epochs, validation, stopping, callbacks)


def _train(
    parts: Parts, run: RunFolder, checkpoint: Checkpoint | None, progress: Progress, flag: InterruptFlag
) -> FitResult:
    config, model, task = parts.config.training, parts.model, TASKS[parts.config.task]
    progress.note(_heading(parts))
    before = _metrics_before(parts, run, progress)
    loop = make_loop(parts, checkpoint)
    batches, epochs, stopping = loop.batches, loop.epochs, loop.stopping
    history = History(run.history, batches, task.columns, steps=run.steps, logging_steps=config.logging_steps)
    saver = Checkpointer(run.checkpoints, loop.step, history, stopping, config.save_steps, flag)
    progress.follow(batches, min(epochs * len(batches), (config.max_steps or sys.maxsize) * config.accumulate))
    callbacks = loop.callbacks + [item for item in (stopping, history, saver, progress) if item is not None]
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
    if stopping is not None and stopping.best_epoch is not None:
        progress.note(stopping.describe())
    progress.note("Evaluating the fine-tuned model")
    return _conclude(parts, run, before, history, stopping)


def _heading(parts: Parts) -> str:
    config = parts.config
    lines = [
        *TASKS[config.task].notes(parts),
        *parts.model.preset.notes(),
        f"Model: {parts.model.preset.name} ({parts.model.preset.kind}), {config.model.precision}",
        f"{METHOD_TITLES[config.lora.method].format(rank=config.lora.rank)}: {parts.summary}",
        *([] if parts.quantised is None else [str(parts.quantised)]),
    ]
    return "\n".join(lines)


def _metrics_before(parts: Parts, run: RunFolder, progress: Progress) -> dict[str, Any]:
    if run.metrics.is_file():  # a resumed run: the model is no longer untouched
        before: dict[str, Any] = read_json(run.metrics)["before"]
        return before
    progress.note("Evaluating the untouched model")
    before = dict(TASKS[parts.config.task].measure(parts, run, trained=False))
    write_json(run.metrics, {"before": before})
    return before


def _conclude(
    parts: Parts,
    run: RunFolder,
    before: dict[str, Any],
    history: History,
    stopping: EarlyStopping | None,
) -> FitResult:
    write_adapter(parts, run)
    metrics = {"before": before, "after": dict(TASKS[parts.config.task].measure(parts, run, trained=True))}
    write_json(run.metrics, metrics)
    seconds = sum(row["seconds"] for row in history.rows)
    best = len(history.rows) if stopping is None or stopping.best_epoch is None else stopping.best_epoch + 1
    stopped = {} if stopping is None else {"early_stopping": stopping.describe()}
    run.update_manifest(state="finished", finished=now(), training_seconds=seconds, best_epoch=best, **stopped)
    return FitResult(run, metrics, history.rows, parts.summary, seconds)


def write_adapter(parts: Parts, run: RunFolder) -> None:
    """Write the adapter folder: weights, description, and what the task puts beside them."""
    task, dtype = TASKS[parts.config.task], parts.config.lora.adapter_dtype
    round_adapter(parts.model, dtype)
    task.write_labels(parts, run)
    save_adapter(parts.model, run.adapter, task.adapter_facts(parts), dtype=dtype)


def _clear(run: RunFolder) -> None:
    """Remove the files of the run that is replaced, and nothing else."""
    for path in (run.history, run.steps, run.metrics, run.samples, run.predictions, run.manifest):
        path.unlink(missing_ok=True)
    for folder in (run.adapter, run.checkpoints, run.report, run.evaluations):
        shutil.rmtree(folder, ignore_errors=True)
