"""All steps of a run in order: config -> data -> model -> LoRA -> `model.fit` -> run folder."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from kerora.backend import set_random_seed
from kerora.data.batches import Batches
from kerora.data.rows import Dataset, Rows
from kerora.errors import NotFiniteError, RunError
from kerora.guards.links import check_links
from kerora.guards.locks import claimed, this_process
from kerora.lora.files import round_adapter, save_adapter
from kerora.lora.inject import LoraSummary
from kerora.lora.quantize import Quantised, quantize
from kerora.models.learning_rate import default_learning_rate
from kerora.models.presets import Preset, find_preset
from kerora.models.task import TaskModel
from kerora.notices import notice
from kerora.runfolder import RunFolder, create_run, named_run, read_json, write_json, write_text
from kerora.runs.baseline import add_baseline
from kerora.runs.open import read_config
from kerora.runs.submission import write_unlabelled
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import as_settings, dump_yaml
from kerora.tasks.contract import EVALUATED, Evaluation
from kerora.tasks.found import with_task
from kerora.tasks.registry import Task, task_named
from kerora.tracking.tracking import check_start, check_tools
from kerora.training.adapt import adapt, check_quantize
from kerora.training.callbacks import History
from kerora.training.checkpoint import Checkpoint, latest_checkpoint
from kerora.training.contrastive import contrastive_start
from kerora.training.defaults import default_epochs, settle_for_data, settle_for_model
from kerora.training.interrupt import InterruptFlag
from kerora.training.kept_data import clear_run, keep, relative
from kerora.training.loop import Loop, guarded, make_optimizer, run_loop
from kerora.training.manifest import changed_settings, check_unchanged, describe, now
from kerora.training.position import Position
from kerora.training.progress import Progress, Silent
from kerora.training.soundness import restore_sound
from kerora.training.step import TrainStep
from kerora.training.stopping import EarlyStopping, Noise
from kerora.training.track import open_tracking, report_files

METHOD_TITLES = {"lora": "LoRA rank {rank}", "full": "Full fine-tuning", "head": "Head alone"}


@dataclass
class Setup:
    """The parts of a run, before anything is written.

    Attributes:
        task: the task.
        config: the settings. Those that depend on the data and the model are settled.
        dataset: the rows.
        model: the model with its adapter.
        summary: counts of the weights of the model.
        batches: the training batches.
        quantised: the result of quantising the base model. None if it is not quantised.
    """

    task: Task
    config: FitConfig
    dataset: Dataset
    model: TaskModel
    summary: LoraSummary
    batches: Batches
    quantised: Quantised | None = None


@dataclass(frozen=True)
class TrainedRun:
    """The result of a run.

    Attributes:
        run: the run folder.
        metrics: the contents of metrics.json.
        history: the rows of history.csv.
        parameters: counts of the trainable weights and of all weights.
        seconds: training time, without evaluation and start-up.
    """

    run: RunFolder
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    parameters: LoraSummary
    seconds: float


def fit(
    config: FitConfig | Mapping[str, Any] | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    argv: Sequence[str] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    files: Collection[Path] = (),
    preset: Preset | None = None,
) -> TrainedRun:
    """Fine-tune a classifier or a language model and write its run folder.

    Args:
        config: the settings, or a mapping of them such as ``{"training": {"epochs": 3}}``. None takes every default.
        force: replace an existing run of the same name.
        progress: shows the progress. None shows nothing.
        argv: the command line, for the manifest.
        callbacks: further callbacks of Keras. They see the results of the validation rows.
        files: files of rows among those of `config` that are moved into the run folder.
        preset: the opened base model. None opens the one that the settings name.

    Raises:
        KeroraError: an input cannot be used, and nothing was written. Or training failed or was interrupted, and
            the last good state was saved.
    """
    config = as_settings({} if config is None else config, FitConfig)
    check_start(config.log)
    named = named_run(config.run, config.runs_dir)
    # before the slow loading of data and model
    with contextlib.nullcontext() if named is None else claimed(named):
        run, setup = _begin(config, preset, force, argv)
        with claimed(run.path) if named is None else contextlib.nullcontext():
            return guarded(run, lambda flag: _first_training(setup, run, progress or Silent(), flag, callbacks, files))


def _begin(config: FitConfig, preset: Preset | None, force: bool, argv: Sequence[str]) -> tuple[RunFolder, Setup]:
    """Load everything, and make the folder of the run with its manifest."""
    changed = changed_settings(config)
    setup = assemble(config, preset)
    method = setup.config.lora.method
    name = (
        f"{setup.model.preset.name}-{setup.dataset.name}-{f'r{setup.config.lora.rank}' if method == 'lora' else method}"
    )
    run = create_run(setup.config.run, setup.config.runs_dir, name, force)
    if force:
        clear_run(run, setup.config.data)
    # The manifest makes the folder a run, so it is written first. If the disk is full later, --force can replace the
    # rest.
    manifest = describe(setup.config, setup.dataset, setup.model, setup.summary, argv)
    weights = {} if setup.quantised is None else {"base_weights": setup.quantised.to_dict()}
    manifest["changed_settings"] = changed
    run.update_manifest(**manifest, **weights, state="running", started=now(), process=this_process())
    return run, setup


def _first_training(
    setup: Setup,
    run: RunFolder,
    progress: Progress,
    flag: InterruptFlag,
    callbacks: Sequence[keras.callbacks.Callback],
    files: Collection[Path],
) -> TrainedRun:
    data = relative(run.path, keep(run.data, setup.config.data, files))
    # without the name: `kerora fit --config` with this file makes a new run and does not meet this one
    write_text(run.config, dump_yaml(dataclasses.replace(setup.config, run=None, data=data)))
    return _train(setup, run, None, progress, flag, callbacks)


def resume(
    path: Path | str, *, progress: Progress | None = None, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> TrainedRun:
    """Continue a stopped run from its newest checkpoint. The result is the same as without the stop.

    Args:
        path: the run folder.
        progress: shows the progress. None shows nothing.
        callbacks: further callbacks of Keras. A checkpoint does not hold their state.

    Raises:
        RunError: the folder is not a run, the run is finished, another process trains it, or its data or base
            model has changed.
    """
    run = RunFolder.open(path)
    # before the slow loading of data and model
    check_links(run.path)
    with claimed(run.path):
        return _resume(run, progress or Silent(), callbacks)


def _resume(run: RunFolder, progress: Progress, callbacks: Sequence[keras.callbacks.Callback]) -> TrainedRun:
    manifest = run.read_manifest()
    if manifest.get("state") == "finished":
        raise RunError(f"{run.path} is finished. Start a new run to train further.")
    config = read_config(run)
    check_tools(config.log)
    setup = assemble(config)
    check_unchanged(run, setup.dataset, setup.model)
    # what an earlier failure left
    cleared = {key: None for key in ("error", "kept_epoch") if key in manifest}
    run.update_manifest(state="running", process=this_process(), **cleared)
    checkpoint = latest_checkpoint(run.checkpoints)
    return guarded(run, lambda flag: _train(setup, run, checkpoint, progress, flag, callbacks))


def assemble(config: FitConfig, preset: Preset | None = None) -> Setup:
    """Load data and model and enable LoRA. This writes nothing.

    `preset` is the opened base model. None opens the one that the settings name.

    The seed is set before any random choice, so that the same settings give the same weights.
    """
    set_random_seed(config.training.seed)
    config = with_task(config)
    task = task_named(config.task)
    preset = preset or find_preset(config.model.preset)
    dataset = task.rows.load(config)
    config = settle_for_data(config, task, dataset)
    check_quantize(config)
    task.training.check(config, dataset)
    model = task.models.build(config, preset, dataset)
    model.read_long(config.model)
    # before the adapters, which must stay float
    quantised = quantize(model, config.model.quantize) if config.model.quantize else None
    summary = adapt(model, config.lora, config.training.seed)
    # after `adapt`, which decides which blocks are frozen and so can be computed once (--cache-frozen)
    task.training.prepare(config, dataset, model)
    batches = task.training.training_batches(config, dataset, model)
    for line in task.training.concerns(config, dataset, model):
        notice(line)
    return Setup(task, settle_for_model(config, model, batches), dataset, model, summary, batches, quantised)


def compile_for_training(model: TaskModel, config: FitConfig, step: TrainStep) -> int:
    """Compile a model with AdamW, schedule, clipping, the loss of its task and a step. Return the number of epochs."""
    training = config.training
    epochs = training.epochs or default_epochs(step.updates_per_epoch)
    peak = training.learning_rate or default_learning_rate(model.backbone.hidden_dim, config.lora.method)
    total = training.max_steps or epochs * step.updates_per_epoch
    optimizer = make_optimizer(training, peak, total, config.lora.loraplus_lr_ratio)
    # small float16 gradients would become zero without a scaled loss
    if model.backbone.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    task_named(config.task).training.compile(model, config, optimizer, step)
    # --max-steps may end inside an epoch: that epoch begins, and `Position` stops it
    return math.ceil(total / step.updates_per_epoch)


def make_loop(setup: Setup, checkpoint: Checkpoint | None = None) -> Loop:
    """Compile the model and make the callbacks that every training needs."""
    config = setup.config.training
    step = TrainStep(
        setup.batches.batches_per_epoch,
        config.accumulate,
        config.seed,
        config.batch_size,
        consistency=config.consistency_weight if config.consistency == "rdrop" else 0.0,
        on_nan=config.on_nan,
        rows_at=_row_names(setup),
    )
    epochs = compile_for_training(setup.model, setup.config, step)
    callbacks: list[Any] = [Position(setup.batches, step, config.max_steps, checkpoint)]
    validation = None
    if "validation" in setup.dataset.splits:
        validation = setup.task.training.validation(setup.config, setup.dataset, setup.model)
    # the validation of a language model knows no standard errors: the epoch with the best value is kept then
    noise = validation if isinstance(validation, Noise) else None
    stopping = EarlyStopping(str(config.monitor), config.patience, noise=noise) if config.early_stopping else None
    if validation is not None:
        callbacks.append(validation)
    return Loop(setup.batches, step, epochs, validation, stopping, callbacks)


def start(setup: Setup) -> str:
    """Do what `--start` says before the first epoch. Return a line about it, or nothing if there is no such start."""
    config = setup.config.training
    if config.start == "plain":
        return ""
    assert config.learning_rate is not None  # settled
    return contrastive_start(setup.model, setup.batches, config, config.learning_rate)


def _train(
    setup: Setup,
    run: RunFolder,
    checkpoint: Checkpoint | None,
    progress: Progress,
    flag: InterruptFlag,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainedRun:
    config, model = setup.config.training, setup.model
    progress.note(_heading(setup))
    with open_tracking(run, setup.config) as tracking:
        before = _metrics_before(setup, run, progress)
        loop = make_loop(setup, checkpoint)
        # a checkpoint holds the weights after the start
        if checkpoint is None and (line := start(setup)):
            progress.note(line)
        # after those of the run, which put the results of the validation rows into the logs
        loop.callbacks.extend(callbacks)
        columns, steps = setup.task.training.COLUMNS, config.logging_steps
        history = History(
            run.history, loop.batches, columns, steps=run.steps, logging_steps=steps, observer=tracking.log
        )
        try:
            run_loop(run, model, loop, config, history, checkpoint, progress, flag)
        except NotFiniteError as error:
            raise _kept_sound(setup, run, loop.stopping, error) from error
        if loop.step.skipped:
            run.update_manifest(skipped_updates=loop.step.skipped)
            progress.note(f"Left out {loop.step.skipped} updates whose loss or gradient was not finite")
        progress.note(_ending(setup, history, loop.stopping))
        progress.note("Evaluating the fine-tuned model")
        result = _conclude(setup, run, before, history, loop.stopping, progress)
        if tracking:
            tracking.conclude(result.metrics, report_files(run))
    return result


def _row_names(setup: Setup) -> Callable[[int], list[str]] | None:
    """Return the function that gives the ids of the training rows of a batch, or None if batches hold other things."""
    rows = setup.dataset["train"]
    # the rows of a language model are blocks of packed texts
    if not isinstance(rows, Rows) or len(rows) != len(setup.batches.lengths):
        return None
    return lambda place: [str(rows.ids[number]) for number in setup.batches.rows_at(place)]


def _kept_sound(setup: Setup, run: RunFolder, stopping: EarlyStopping | None, error: NotFiniteError) -> NotFiniteError:
    """Write the adapter of the best state before the error, and return the error with a sentence about it."""
    # not the weights of the last update: they may be finite and still give no finite loss
    epoch = restore_sound(setup.model, stopping, run.checkpoints)
    if epoch is None:
        return NotFiniteError(f"{error.args[0]} No epoch was complete before it, so no adapter is kept.")
    write_adapter(setup, run)
    run.update_manifest(kept_epoch=epoch)
    return NotFiniteError(f"{error.args[0]} The adapter of epoch {epoch} is kept.")


def _heading(setup: Setup) -> str:
    config = setup.config
    lines = [
        *setup.task.training.notes(setup.dataset, setup.model, setup.batches),
        *setup.model.length_notes(setup.dataset),
        *setup.model.preset.notes(),
        f"Model: {setup.model.preset.name} ({setup.model.preset.kind}), {config.model.precision}",
        f"{METHOD_TITLES[config.lora.method].format(rank=config.lora.rank)}: {setup.summary}",
        *([] if setup.quantised is None else [str(setup.quantised)]),
    ]
    return "\n".join(lines)


def _metrics_before(setup: Setup, run: RunFolder, progress: Progress) -> dict[str, Any]:
    if run.metrics.is_file():  # a resumed run was already evaluated before its training
        before: dict[str, Any] = read_json(run.metrics)["before"]
        return before
    progress.note("Evaluating the untouched model")
    before = _evaluate(setup).metrics
    _demonstrate(setup, run, trained=False)
    # last: a resume takes this file as the sign that the untouched model was evaluated and demonstrated
    write_json(run.metrics, {"before": before})
    return before


def _conclude(
    setup: Setup,
    run: RunFolder,
    before: dict[str, Any],
    history: History,
    stopping: EarlyStopping | None,
    progress: Progress,
) -> TrainedRun:
    write_adapter(setup, run)
    evaluation = setup.task.training.settle(setup.model, _evaluate(setup), setup.config)
    for note in evaluation.notes:
        progress.note(note)
    # again, with what was fitted on the validation rows
    setup.task.models.write_head(run, setup.model)
    setup.task.training.write_details(run, setup.model, evaluation)
    _demonstrate(setup, run, trained=True)
    if setup.dataset.unlabelled is not None:
        size = setup.config.training.evaluation_batch_size
        write_unlabelled(run, setup.task, setup.model, setup.dataset.unlabelled, size)
    metrics = {"before": before, "after": evaluation.metrics}
    write_json(run.metrics, metrics)
    seconds = sum(row["seconds"] for row in history.rows)
    best = len(history.rows) if stopping is None or stopping.best_epoch is None else stopping.best_epoch + 1
    ending = _ending(setup, history, stopping)
    times = {"training_seconds": seconds, "last_epoch": len(history.rows), "best_epoch": best, "ending": ending}
    run.update_manifest(state="finished", finished=now(), **times)
    # last: whatever becomes of the baseline, the run is finished
    started, train, rows = time.perf_counter(), setup.dataset["train"], _evaluated(setup)
    found = add_baseline(run, setup.task, setup.config, setup.model, train, rows, evaluation, progress.note)
    if found:
        metrics["baseline"] = found
        run.update_manifest(baseline_seconds=time.perf_counter() - started)
    return TrainedRun(run, metrics, history.rows, setup.summary, seconds)


def _ending(setup: Setup, history: History, stopping: EarlyStopping | None) -> str:
    """Return one line: which epoch ended the training, which epoch is kept, and why."""
    last, config = len(history.rows), setup.config.training
    if stopping is not None and stopping.best_epoch is not None:
        return stopping.describe(last)
    reason = "there are no validation rows" if "validation" not in setup.dataset.splits else "early stopping is off"
    limit = f", where --max-steps {config.max_steps} ended the training" if config.max_steps else ""
    return f"Kept epoch {last}, the last one{limit}: {reason}"


def _evaluated(setup: Setup) -> dict[str, Any]:
    return {split: rows for split, rows in setup.dataset if split in EVALUATED}


def _evaluate(setup: Setup) -> Evaluation:
    return setup.task.training.evaluate(setup.model, _evaluated(setup), setup.config, cache=True)


def _demonstrate(setup: Setup, run: RunFolder, *, trained: bool) -> None:
    # rows that training does not see, if there are any
    source = next(split for split in ("test", "validation", "train") if split in setup.dataset.splits)
    found = setup.task.training.demonstrate(setup.model, setup.dataset[source], setup.config)
    setup.task.training.write_demonstration(run, found, trained)


def write_adapter(setup: Setup, run: RunFolder) -> None:
    """Write the adapter folder: weights, description, and the files of the task."""
    task, dtype = setup.task, setup.config.lora.adapter_dtype
    round_adapter(setup.model, dtype)  # so that the evaluation measures the weights as they are stored
    task.models.write_head(run, setup.model)
    save_adapter(setup.model, run.adapter, task.training.adapter_facts(setup.config, setup.dataset), dtype=dtype)
