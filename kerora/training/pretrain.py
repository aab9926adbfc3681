"""The whole story of a pre-training: text -> vocabulary -> rows -> `model.fit` -> preset folder."""

import dataclasses
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerora.backend import set_random_seed
from kerora.config import PretrainConfig, dump_yaml, load_yaml, resolve
from kerora.data.corpus import Corpus, Survey, held_out_documents, part_of
from kerora.data.masking import MaskedBatches, Vocabulary
from kerora.data.packing import PackedRow, pack, token_tables
from kerora.data.tokens import TokenTable, cache_key, cached_table
from kerora.errors import ConfigError, DataError, PresetError, RunError
from kerora.models.architectures import ARCHITECTURES, Architecture
from kerora.models.keras_presets import CONFIG, WEIGHTS
from kerora.models.masked_lm import MaskedLanguageModel
from kerora.models.precision import resolve_precision
from kerora.models.presets import Preset, find_preset
from kerora.models.sentences import SentenceEncoder, cached_embeddings, embeddings_from_teacher
from kerora.models.tokenizer import TextTokenizer
from kerora.models.tokenizer_files import fresh_wordpiece
from kerora.models.vocabulary import train_wordpiece
from kerora.models.write_preset import (
    fresh_backbone,
    read_tokenizer,
    rebuild,
    round_weights,
    tokenizer_files,
    write_preset,
    write_tokenizer,
)
from kerora.runfolder import PretrainFolder, write_text
from kerora.training.callbacks import History
from kerora.training.card import model_card
from kerora.training.checkpoint import Checkpoint, Checkpointer, latest_checkpoint, restore_callbacks
from kerora.training.held_out import PRETRAIN_COLUMNS, HeldOut
from kerora.training.interrupt import InterruptFlag
from kerora.training.loop import guarded, make_optimizer, run_fit
from kerora.training.manifest import check_not_running, describe_pretraining, now, this_process
from kerora.training.position import Position
from kerora.training.progress import Progress, Silent
from kerora.training.step import TrainStep

CONTINUED = ("distil_bert", "bert", "roberta")
"""Kinds that `--init` takes: their embeddings are as wide as their layers, their words known by their tokens."""
FRESH_RATE, FRESH_WIDTH, CONTINUED_RATE = 3e-4, 256, 1e-4
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@dataclass(frozen=True)
class PretrainResult:
    """What a pre-training came to.

    Attributes:
        run: the preset folder.
        metrics: loss, accuracy and cosine on the held-out part; empty without one.
        history: the rows of history.csv.
        seconds: training time, without evaluation, teacher and start-up.
    """

    run: PretrainFolder
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    seconds: float


@dataclass
class Parts:
    """What a pre-training is made of, before any training.

    Attributes:
        config: the settings, settled.
        corpus: the text.
        survey: how much of it there is.
        held_out: which documents are held out, bool (documents,).
        architecture: kind of the encoder.
        tokenizer: its tokenizer.
        backbone: the encoder, with its first weights.
        init: the preset that is continued, or None.
        teacher: the preset that is learnt from, or None.
    """

    config: PretrainConfig
    corpus: Corpus
    survey: Survey
    held_out: np.ndarray
    architecture: Architecture
    tokenizer: TextTokenizer
    backbone: Any
    init: Preset | None
    teacher: Preset | None

    def rows(self, held_out: bool) -> Iterator[PackedRow]:
        """Pack the held-out documents, or the others."""
        documents = part_of(self.corpus, self.held_out, held_out)
        return pack(documents, self.tokenizer, self.config.model.max_length)

    def table_key(self, held_out: bool) -> str:
        """Return the name of a part's rows in the token cache."""
        files = [facts["sha256"] for facts in self.corpus.fingerprints()]
        columns = dataclasses.astuple(self.config.data)[1:]
        length, seed = self.config.model.max_length, self.config.training.seed
        return cache_key("pretrain", self.tokenizer.fingerprint, files, columns, seed, length, held_out)

    def table(self, held_out: bool) -> TokenTable:
        """Return the rows of the held-out documents, or of the others, through the token cache.

        Raises:
            DataError: there are none.
        """
        segments, length = self.tokenizer.uses_segments, self.config.model.max_length
        table = cached_table(
            self.table_key(held_out), lambda: token_tables(self.rows(held_out), segments, length), segments, length
        )
        if len(table) == 0:
            part = "held-out part of the text" if held_out else "text"
            raise DataError(f"The {part} holds no word that the vocabulary knows. Give more text.")
        return table


@dataclass(frozen=True)
class Rows:
    """The rows of a part: tokens, and the teacher's embedding of each or None."""

    table: TokenTable
    teacher: np.ndarray | None


def pretrain(config: PretrainConfig, *, force: bool = False, progress: Progress | None = None) -> PretrainResult:
    """Pre-train an encoder and write it as a preset folder.

    Args:
        config: the settings; `output` and `data.text` are required.
        force: replace an earlier pre-training in the output folder.
        progress: shows what happens; None shows nothing.

    Raises:
        KeroraError: an input cannot be used, in which case nothing was written, or training
            failed or was interrupted, in which case the last good state was saved.
    """
    if not config.output:
        raise ConfigError("There is no folder to write the preset to. Name it with --output.")
    run = PretrainFolder(Path(config.output).expanduser())
    run.check_free(force)
    progress = progress or Silent()
    parts = assemble(config, None, progress)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot create the folder {run.path}: {error.strerror}. Choose another --output.") from error
    _clear(run)
    run.update_manifest(**describe_parts(parts), state="running", started=now(), process=this_process())

    def work(flag: InterruptFlag) -> PretrainResult:
        write_text(run.config, dump_yaml(_with_whole_paths(parts.config)))
        write_tokenizer(parts.tokenizer, parts.architecture, run.path)
        return _train(parts, run, None, progress, flag)

    return guarded(run, work)


def resume(path: str, *, progress: Progress | None = None) -> PretrainResult:
    """Go on with a stopped pre-training from its newest checkpoint; it ends as if it had not been stopped.

    Raises:
        RunError: not a pre-training, finished already, or its text or a preset changed since.
    """
    run = PretrainFolder.open(path)
    manifest = run.read_manifest()
    if manifest.get("state") == "finished":
        raise RunError(f"{run.path} is finished. Start a new one with --init {run.path} to train further.")
    check_not_running(run)
    progress = progress or Silent()
    config = resolve(load_yaml(run.config, PretrainConfig), {"output": str(run.path)}, root=PretrainConfig)
    parts = assemble(config, run, progress)
    described = describe_parts(parts)
    for key, name in (("data", "text"), ("init", "--init preset"), ("teacher", "teacher"), ("tokenizer", "tokenizer")):
        if described[key] != manifest.get(key):
            raise RunError(f"The {name} of {run.path} changed since it started. Restore it or start a new one.")
    run.update_manifest(state="running", process=this_process())
    return guarded(run, lambda flag: _train(parts, run, latest_checkpoint(run.checkpoints), progress, flag))


def assemble(config: PretrainConfig, started: PretrainFolder | None, progress: Progress) -> Parts:
    """Read the text, make or load tokenizer and encoder; writes nothing.

    Args:
        config: the settings.
        started: a pre-training that goes on, whose vocabulary is taken; None makes one.
        progress: told what happens.
    """
    set_random_seed(config.training.seed)
    corpus = Corpus(config.data)
    init = None if config.model.init is None else _continued(config.model.init)
    teacher = None if config.distillation.teacher is None else find_preset(config.distillation.teacher)
    survey = corpus.survey()
    held_out = held_out_documents(survey.documents, config.data.holdout, config.training.seed)
    architecture = ARCHITECTURES[config.model.architecture] if init is None else init.architecture
    if init is not None:
        tokenizer = init.load_tokenizer()
    elif started is not None:
        tokenizer = read_tokenizer(started.path, architecture)
    else:
        progress.note(f"Training a vocabulary of {config.model.vocabulary_size:,} pieces")
        tokenizer = _fresh_tokenizer(config, corpus, held_out, architecture)
    if tokenizer.mask_id is None:
        raise PresetError(f"The tokenizer of {config.model.init} has no mask token. Give another --init.")
    backbone = _backbone(config, tokenizer, init)
    settled = _settled(config, backbone)
    parts = Parts(settled, corpus, survey, held_out, architecture, tokenizer, backbone, init, teacher)
    for part in (False, True) if held_out.any() else (False,):
        parts.table(part)
    return parts


def describe_parts(parts: Parts) -> dict[str, Any]:
    """Return the manifest of a pre-training that is about to start."""
    facts = {
        "files": parts.corpus.fingerprints(),
        "documents": parts.survey.documents,
        "held_out_documents": int(parts.held_out.sum()),
        "characters": parts.survey.characters,
    }
    return describe_pretraining(parts.config, facts, parts.tokenizer, parts.init, parts.teacher)


def _settled(config: PretrainConfig, backbone: Any) -> PretrainConfig:
    """Settle precision and learning rate."""
    fresh = FRESH_RATE * min(1.0, FRESH_WIDTH / backbone.hidden_dim)
    rate = config.training.learning_rate or (fresh if config.model.init is None else CONTINUED_RATE)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, precision=resolve_precision(config.model.precision)),
        training=dataclasses.replace(config.training, learning_rate=rate),
    )


def _backbone(config: PretrainConfig, tokenizer: TextTokenizer, init: Preset | None) -> Any:
    policy = POLICIES[resolve_precision(config.model.precision)]
    if init is None:
        set_random_seed(config.training.seed)
        return fresh_backbone(config.model, tokenizer.vocabulary_size, policy)
    backbone = rebuild(init.load_backbone(), policy, config.model.dropout)
    longest = backbone.max_sequence_length
    if config.model.max_length > longest:
        raise ConfigError(f"--max-length is {config.model.max_length}, but {init.name} takes {longest} tokens at most.")
    return backbone


def _continued(spec: str) -> Preset:
    preset = find_preset(spec)
    if preset.kind not in CONTINUED:
        titles = ", ".join(ARCHITECTURES[kind].title for kind in CONTINUED)
        raise PresetError(f"--init cannot go on with {preset.architecture.title} ({spec}). It takes {titles}.")
    return preset


def _fresh_tokenizer(
    config: PretrainConfig, corpus: Corpus, held_out: np.ndarray, architecture: Architecture
) -> TextTokenizer:

    def lines() -> Iterator[str]:
        return (line for document in part_of(corpus, held_out, False) for line in document)

    return fresh_wordpiece(train_wordpiece(lines, config.model.vocabulary_size), architecture)


def _train(
    parts: Parts, run: PretrainFolder, checkpoint: Checkpoint | None, progress: Progress, flag: InterruptFlag
) -> PretrainResult:
    config = parts.config.training
    encoder = _teacher(parts)
    rows = _rows(parts, False, encoder, progress)
    kept = _rows(parts, True, encoder, progress) if parts.held_out.any() else None
    model = _model(parts, encoder)
    batches = _batches(parts, rows, config.batch_size, shuffle=True)
    step = TrainStep(batches.batches_per_epoch, config.accumulate, config.seed)
    epochs = _compile(model, parts, step)
    progress.note(_heading(parts, model, rows, batches, epochs))
    history = History(run.history, batches, PRETRAIN_COLUMNS)
    saver = Checkpointer(run.checkpoints, step, history, None, config.save_steps, flag, run.command)
    measure = None
    if kept is not None:
        measure = HeldOut(_batches(parts, kept, config.evaluation_batch_size, shuffle=False))
    progress.follow(batches, min(epochs * len(batches), (config.max_steps or sys.maxsize) * config.accumulate))
    callbacks = [Position(batches, step, config.max_steps, checkpoint), measure, history, saver, progress]
    if checkpoint is not None:
        checkpoint.restore_model(model)
        restore_callbacks(checkpoint, model, history, None, saver)
    try:
        with flag.hold():
            run_fit(model, batches, epochs, checkpoint, [item for item in callbacks if item is not None])
    finally:
        progress.close()
        saver.finish()
    return _conclude(parts, run, model, history, measure)


def _teacher(parts: Parts) -> SentenceEncoder | None:
    return None if parts.teacher is None else SentenceEncoder(parts.teacher, parts.config.model.precision)


def _rows(parts: Parts, held_out: bool, encoder: SentenceEncoder | None, progress: Progress) -> Rows:
    table = parts.table(held_out)
    if encoder is None:
        return Rows(table, None)
    progress.note(f"Embedding {len(table):,} {'held-out ' if held_out else ''}rows with {encoder.preset.name}")
    return Rows(
        table,
        cached_embeddings(
            cache_key(parts.table_key(held_out), encoder.preset.fingerprint),
            encoder,
            lambda: (row.text for row in parts.rows(held_out)),
            _report(progress, len(table)),
        ),
    )


def _report(progress: Progress, total: int) -> Callable[[int], None]:
    """Tell how far the teacher is, at each tenth."""
    told = 0

    def report(done: int) -> None:
        nonlocal told
        if done * 10 // total > told:
            told = done * 10 // total
            progress.note(f"  {done:,} of {total:,} rows")

    return report


def _batches(parts: Parts, rows: Rows, size: int, shuffle: bool) -> MaskedBatches:
    tokenizer, config = parts.tokenizer, parts.config.training
    assert tokenizer.mask_id is not None
    vocabulary = Vocabulary(tokenizer.mask_id, tokenizer.word_starts, tokenizer.special)
    options = {"batch_size": size, "pad_id": tokenizer.pad_id, "shuffle": shuffle, "seed": config.seed}
    return MaskedBatches(rows.table, vocabulary, config.mask_share, rows.teacher, **options)


def _model(parts: Parts, encoder: SentenceEncoder | None) -> MaskedLanguageModel:
    config, seed = parts.config, parts.config.training.seed
    if encoder is not None and parts.init is None and config.distillation.init_embeddings:
        width = parts.backbone.hidden_dim
        vectors = embeddings_from_teacher(parts.tokenizer, encoder.tokenizer, encoder.token_vectors, width, seed)
        parts.backbone.token_embedding.embeddings.assign(vectors)
    return MaskedLanguageModel.build_on(
        parts.backbone,
        teacher_width=None if encoder is None else encoder.width,
        distil_weight=config.distillation.distil_weight,
        seed=seed,
    )


def _compile(model: MaskedLanguageModel, parts: Parts, step: TrainStep) -> int:
    """Compile the model; return the number of epochs."""
    config = parts.config.training
    total = config.max_steps or (config.epochs or 1) * step.updates_per_epoch
    assert config.learning_rate is not None
    model.compile(optimizer=make_optimizer(config, config.learning_rate, total), step=step)
    return math.ceil(total / step.updates_per_epoch)


def _heading(parts: Parts, model: MaskedLanguageModel, rows: Rows, batches: MaskedBatches, epochs: int) -> str:
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
    parts: Parts, run: PretrainFolder, model: MaskedLanguageModel, history: History, measure: HeldOut | None
) -> PretrainResult:
    storage = parts.config.model.storage
    round_weights(model, storage)
    metrics = {} if measure is None else measure.evaluate(model)
    write_preset(parts.backbone, parts.tokenizer, parts.architecture, run.path, storage)
    seconds = sum(row["seconds"] for row in history.rows)
    run.update_manifest(
        state="finished",
        finished=now(),
        process={},
        training_seconds=seconds,
        parameters=int(parts.backbone.count_params()),
        held_out=metrics,
        weights_bytes=(run.path / WEIGHTS).stat().st_size,
    )
    write_text(run.card, model_card(run.path.resolve().name, run.read_manifest(), history.rows))
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    return PretrainResult(run, metrics, history.rows, seconds)


def _with_whole_paths(config: PretrainConfig) -> PretrainConfig:
    """Make the paths independent of the folder that the command ran in, for a resume from anywhere."""

    def whole(spec: str | None) -> str | None:
        return str(Path(spec).expanduser().resolve()) if spec and Path(spec).expanduser().is_dir() else spec

    text = tuple(str(Path(name).expanduser().resolve()) for name in config.data.text)
    return dataclasses.replace(
        config,
        output=None,
        data=dataclasses.replace(config.data, text=text),
        model=dataclasses.replace(config.model, init=whole(config.model.init)),
        distillation=dataclasses.replace(config.distillation, teacher=whole(config.distillation.teacher)),
    )


def _clear(run: PretrainFolder) -> None:
    """Remove the files of the pre-training that is replaced, and nothing else."""
    for path in (run.manifest, run.config, run.history, run.card, run.path / CONFIG, run.path / WEIGHTS):
        path.unlink(missing_ok=True)
    for path in tokenizer_files(run.path):
        path.unlink(missing_ok=True)
    shutil.rmtree(run.checkpoints, ignore_errors=True)
