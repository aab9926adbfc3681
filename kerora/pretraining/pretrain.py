"""All steps of a pre-training in order: text -> vocabulary -> rows -> `model.fit` -> preset folder."""

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerora.data.batches import Batches
from kerora.data.documents import Documents
from kerora.data.language_batches import LanguageBatches
from kerora.data.language_tokens import lay_out
from kerora.data.tokens import TokenTable, cache_key
from kerora.errors import ConfigError, RunError
from kerora.evaluation.wording import duration
from kerora.guards.links import check_links
from kerora.guards.locks import claimed, this_process
from kerora.models.causal_lm import CausalLM
from kerora.models.keras_presets import CONFIG
from kerora.models.keras_weights import WEIGHTS
from kerora.models.task import SteppedModel
from kerora.models.write_preset import (
    round_weights,
    tokenizer_files,
    write_preset,
    write_tokenizer,
)
from kerora.places import expanded
from kerora.pretraining.card import card_curves, learns_words, model_card
from kerora.pretraining.held_out import PRETRAIN_COLUMNS, HeldOut, HeldOutTexts
from kerora.pretraining.masked_lm import LossWeights, MaskedLanguageModel
from kerora.pretraining.masking import MaskedBatches, Vocabulary
from kerora.pretraining.parts import Parts, assemble, describe_parts
from kerora.pretraining.teacher import Teacher, cached_targets, start_from_teacher
from kerora.runfolder import PretrainFolder, check_has_settings, write_bytes, write_text
from kerora.settings.pretrain import PretrainConfig
from kerora.settings.resolve import as_settings, dump_yaml, load_yaml, resolve
from kerora.tasks.language.task import COLUMNS
from kerora.tracking.tracking import check_start, check_tools
from kerora.training.callbacks import History
from kerora.training.checkpoint import Checkpoint, latest_checkpoint
from kerora.training.interrupt import InterruptFlag
from kerora.training.loop import Loop, guarded, make_optimizer, run_loop
from kerora.training.manifest import now
from kerora.training.position import Position
from kerora.training.progress import Progress, Silent
from kerora.training.step import TrainStep
from kerora.training.track import open_tracking


@dataclass(frozen=True)
class PretrainResult:
    """The result of a pre-training.

    Attributes:
        run: the preset folder.
        metrics: the metrics on the held-out part. Empty if nothing is held out.
        history: the rows of history.csv.
        seconds: training time, without evaluation, teacher and start-up.
    """

    run: PretrainFolder
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Rows:
    """The rows of a part: the tokens, and the direction of the teacher's state for each token, or None."""

    table: TokenTable
    teacher: np.ndarray | None


def pretrain(
    config: PretrainConfig | Mapping[str, Any], *, force: bool = False, progress: Progress | None = None
) -> PretrainResult:
    """Pre-train an encoder or a language model and write it as a preset folder.

    Args:
        config: the settings, or a mapping of them. `output` and `data.text` are required.
        force: replace an earlier pre-training in the output folder.
        progress: shows the progress. None shows nothing.

    Raises:
        KeroraError: an input cannot be used, and nothing was written. Or training failed or was interrupted, and the
            last good state was saved.
    """
    config = as_settings(config, PretrainConfig)
    if not config.output:
        raise ConfigError("There is no folder to write the preset to. Name it with --output.")
    run = PretrainFolder(expanded(config.output))
    check_start(config.log)
    # before `assemble`, which may work for minutes on the text
    with claimed(run.path, run.kind, run.option):
        run.check_free(force)
        return _pretrain(config, run, progress or Silent())


def _pretrain(config: PretrainConfig, run: PretrainFolder, progress: Progress) -> PretrainResult:
    parts = assemble(config, None, progress)
    _clear(run)
    run.update_manifest(**describe_parts(parts), state="running", started=now(), process=this_process())

    def work(flag: InterruptFlag) -> PretrainResult:
        write_text(run.config, dump_yaml(_with_whole_paths(parts.config)))
        write_tokenizer(parts.tokenizer, parts.architecture, run.path)
        return _train(parts, run, None, progress, flag)

    return guarded(run, work)


def resume(path: str, *, progress: Progress | None = None) -> PretrainResult:
    """Continue a stopped pre-training from its newest checkpoint. The result is the same as without the stop.

    Raises:
        RunError: the folder is not a pre-training, it is finished, or its text or a preset has changed.
    """
    run = PretrainFolder.open(path)
    check_links(run.path)
    with claimed(run.path, run.kind, run.option):
        return _resume(run, progress or Silent())


def _resume(run: PretrainFolder, progress: Progress) -> PretrainResult:
    manifest = run.read_manifest()
    if manifest.get("state") == "finished":
        raise RunError(f"{run.path} is finished. Start a new pre-training with --init {run.path} to train further.")
    check_has_settings(run)
    # config.yaml holds no output, so that a folder that was moved can be resumed
    config = resolve(load_yaml(run.config, PretrainConfig), {"output": str(run.path)}, root=PretrainConfig)
    check_tools(config.log)
    parts = assemble(config, run, progress)
    described = describe_parts(parts)
    # another text, teacher or vocabulary would give other rows, and the position in the checkpoint would mean nothing
    for key, name in (("data", "text"), ("init", "--init preset"), ("teacher", "teacher"), ("tokenizer", "tokenizer")):
        if described[key] != manifest.get(key):
            raise RunError(
                f"The {name} of {run.path} changed since it started. Restore it or start a new pre-training."
            )
    run.update_manifest(state="running", process=this_process())
    return guarded(run, lambda flag: _train(parts, run, latest_checkpoint(run.checkpoints), progress, flag))


def _train(
    parts: Parts, run: PretrainFolder, checkpoint: Checkpoint | None, progress: Progress, flag: InterruptFlag
) -> PretrainResult:
    config = parts.config.training
    teacher = _teacher(parts)
    rows = _rows(parts, False, teacher, progress)
    kept = _rows(parts, True, teacher, progress) if parts.held_out.any() else None
    model = _model(parts, teacher)
    batches = _batches(parts, rows, config.batch_size, shuffle=True)
    step = TrainStep(batches.batches_per_epoch, config.accumulate, config.seed)
    epochs = _compile(model, parts, step)
    progress.note(_heading(parts, rows, batches, epochs))
    columns = COLUMNS if parts.is_causal else PRETRAIN_COLUMNS
    measure = None if kept is None else _measure(parts, kept)
    callbacks: list[Any] = [Position(batches, step, config.max_steps, checkpoint)]
    callbacks += [] if measure is None else [measure]
    loop = Loop(batches, step, epochs, measure, None, callbacks)
    with open_tracking(run, parts.config) as tracking:
        history = History(run.history, batches, columns, observer=tracking.log)
        run_loop(run, model, loop, config, history, checkpoint, progress, flag)
        result = _conclude(parts, run, model, history, measure)
        tracking.conclude({"after": {"held_out": result.metrics}}, [run.card_picture])
    return result


def _teacher(parts: Parts) -> Teacher | None:
    return None if parts.teacher is None else Teacher(parts.teacher, parts.config.model.precision)


def _rows(parts: Parts, held_out: bool, teacher: Teacher | None, progress: Progress) -> Rows:
    table = parts.table(held_out)
    if teacher is None:
        return Rows(table, None)
    progress.note(f"Reading {len(table):,} {'held-out ' if held_out else ''}rows with {teacher.preset.name}")
    starts = parts.tokenizer.word_starts
    # with the precision, because bfloat16 and float32 give different states
    key = cache_key("teacher", parts.table_key(held_out), teacher.preset.fingerprint, parts.config.model.precision)
    report = _report(progress, table)
    return Rows(table, cached_targets(key, teacher, table, lambda: parts.rows(held_out), starts, report))


def _report(progress: Progress, table: TokenTable) -> Callable[[int], None]:
    """Return a function that notes the progress of the teacher at each tenth of the tokens, with the time left."""
    told = begun = 0
    started = time.perf_counter()

    def report(rows: int) -> None:
        nonlocal told, begun, started
        done, total = int(table.offsets[rows]), len(table.ids)
        if done * 10 // total <= told:
            return
        told = done * 10 // total
        speed = (done - begun) / (time.perf_counter() - started)
        left = f", {duration((total - done) / speed)} left" if begun and done < total else ""
        progress.note(f"  {done:,} of {total:,} tokens{left}")
        # The speed counts from the first note on: a continued reading did not start at the first row.
        if not begun:
            begun, started = done, time.perf_counter()

    return report


def _measure(parts: Parts, kept: Rows) -> HeldOut | HeldOutTexts:
    size = parts.config.training.evaluation_batch_size
    if parts.is_causal:
        return HeldOutTexts(kept.table, parts.tokenizer, size)
    batches = _batches(parts, kept, size, shuffle=False)
    assert isinstance(batches, MaskedBatches)
    return HeldOut(batches)


def _batches(parts: Parts, rows: Rows, size: int, shuffle: bool) -> MaskedBatches | LanguageBatches:
    tokenizer, config = parts.tokenizer, parts.config.training
    if parts.is_causal:
        stretches = lay_out(rows.table, Documents([], []), "blocks", parts.config.model.max_length)
        return LanguageBatches(
            rows.table, stretches, batch_size=size, pad_id=tokenizer.pad_id, shuffle=shuffle, seed=config.seed
        )
    assert tokenizer.mask_id is not None
    vocabulary = Vocabulary(tokenizer.mask_id, tokenizer.word_starts, tokenizer.special)
    options = {"batch_size": size, "pad_id": tokenizer.pad_id, "shuffle": shuffle, "seed": config.seed}
    return MaskedBatches(rows.table, vocabulary, config.mask_share, rows.teacher, **options)


def _model(parts: Parts, teacher: Teacher | None) -> MaskedLanguageModel | CausalLM:
    if parts.is_causal:
        return CausalLM.build_on(parts.backbone, parts.tokenizer, parts.config.model.max_length)
    config, seed = parts.config.distillation, parts.config.training.seed
    model = MaskedLanguageModel.build_on(
        parts.backbone,
        teacher_width=None if teacher is None else teacher.width,
        loss_weights=None
        if teacher is None
        else LossWeights(config.mlm_weight, config.sentence_weight, config.token_weight),
        seed=seed,
    )
    if teacher is not None and parts.init is None and config.init_embeddings:
        model.start_at(start_from_teacher(parts.tokenizer, teacher, parts.backbone.hidden_dim, seed))
    elif teacher is not None and parts.backbone.hidden_dim == teacher.width:
        # an encoder that was pruned from its teacher already has about the states of the teacher
        model.project_identically()
    return model


def _compile(model: SteppedModel, parts: Parts, step: TrainStep) -> int:
    """Compile the model and return the number of epochs."""
    config = parts.config.training
    total = config.max_steps or (config.epochs or 1) * step.updates_per_epoch
    assert config.learning_rate is not None
    model.compile(optimizer=make_optimizer(config, config.learning_rate, total), step=step)
    return math.ceil(total / step.updates_per_epoch)


def _heading(parts: Parts, rows: Rows, batches: Batches, epochs: int) -> str:
    backbone = parts.backbone
    source = "fresh" if parts.init is None else f"from {parts.init.name}"
    lines = [
        f"Text: {len(parts.corpus.files)} files, {parts.survey.documents:,} documents "
        f"({int(parts.held_out.sum()):,} held out), {len(rows.table):,} rows, {len(rows.table.ids):,} tokens",
        f"Model: {parts.architecture.title}, {source}, {backbone.num_layers} x {backbone.hidden_dim}, "
        f"{backbone.count_params():,} weights, {parts.config.model.precision}",
        f"Training: {epochs} epochs of {batches.batches_per_epoch:,} batches",
    ]
    return "\n".join(lines)


def _conclude(
    parts: Parts, run: PretrainFolder, model: Any, history: History, measure: HeldOut | HeldOutTexts | None
) -> PretrainResult:
    # rounded first, so that the held-out metrics are those of the stored weights
    storage = parts.config.model.storage
    round_weights(model, storage)
    metrics = {} if measure is None else measure.evaluate(model)
    write_preset(parts.backbone, parts.tokenizer, parts.architecture, run.path, storage)
    seconds = sum(row["seconds"] for row in history.rows)
    run.update_manifest(
        state="finished",
        finished=now(),
        training_seconds=seconds,
        parameters=int(parts.backbone.count_params()),
        held_out=metrics,
        weights_bytes=(run.path / WEIGHTS).stat().st_size,
    )
    write_bytes(run.card_picture, card_curves(history.rows, learns_words(run.read_manifest())))
    write_text(run.card, model_card(run.path.resolve().name, run.read_manifest(), history.rows))
    shutil.rmtree(run.checkpoints, ignore_errors=True)  # the preset is complete, so nothing needs to be resumed
    return PretrainResult(run, metrics, history.rows, seconds)


def _with_whole_paths(config: PretrainConfig) -> PretrainConfig:
    """Make the paths absolute, so that a resume works from any folder."""

    def whole(spec: str | None) -> str | None:
        # only folders: a name such as bert_base_en is no path
        return str(expanded(spec).resolve()) if spec and expanded(spec).is_dir() else spec

    text = tuple(str(expanded(name).resolve()) for name in config.data.text)
    return dataclasses.replace(
        config,
        output=None,
        data=dataclasses.replace(config.data, text=text),
        model=dataclasses.replace(config.model, init=whole(config.model.init)),
        distillation=dataclasses.replace(config.distillation, teacher=whole(config.distillation.teacher)),
    )


def _clear(run: PretrainFolder) -> None:
    """Remove the files of the replaced pre-training, and nothing else."""
    records = (run.manifest, run.config, run.history, run.card, run.card_picture)
    for path in (*records, run.path / CONFIG, run.path / WEIGHTS):
        path.unlink(missing_ok=True)
    for path in tokenizer_files(run.path):
        path.unlink(missing_ok=True)
    for folder in (run.checkpoints, run.logs):
        shutil.rmtree(folder, ignore_errors=True)
