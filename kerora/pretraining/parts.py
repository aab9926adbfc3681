"""The parts of a pre-training before any training: text, vocabulary, encoder and teacher."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerora.backend import set_random_seed
from kerora.data.documents import plain_text
from kerora.data.language_tokens import CHUNK_DOCUMENTS, tokenize_parts
from kerora.data.tokens import TokenTable, cache_key, cached_table
from kerora.errors import ConfigError, DataError, PresetError
from kerora.models.architectures import Architecture, fresh_architecture, trained_by
from kerora.models.precision import resolve_precision
from kerora.models.presets import Preset, find_preset
from kerora.models.tokenizer import TextTokenizer
from kerora.models.tokenizer_files import fresh_byte_pairs, fresh_wordpiece
from kerora.models.write_preset import (
    fresh_backbone,
    read_tokenizer,
    rebuild,
)
from kerora.pretraining.corpus import Corpus, Survey, held_out_documents, part_of
from kerora.pretraining.packing import PackedRow, pack, token_tables
from kerora.pretraining.substitution import substituted
from kerora.pretraining.teacher import one_piece_words
from kerora.pretraining.vocabulary import train_byte_pairs, train_wordpiece
from kerora.runfolder import PretrainFolder
from kerora.settings.pretrain import PretrainConfig
from kerora.training.manifest import describe_pretraining
from kerora.training.progress import Progress

# the rate of a continued model is lower, because it forgets more at a high rate
FRESH_RATE, FRESH_WIDTH, CONTINUED_RATE = 3e-4, 256, 1e-4
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # mixed: the weights stay float32


@dataclass
class Parts:
    """The parts of a pre-training before any training.

    Attributes:
        config: the settled settings.
        corpus: the text.
        survey: the size of the text.
        held_out: which documents are held out, bool (documents,).
        architecture: architecture of the model.
        tokenizer: tokenizer of the model.
        backbone: the model with its initial weights.
        init: the preset whose pre-training is continued, or None.
        teacher: the teacher preset, or None.
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

    @property
    def is_causal(self) -> bool:
        """Whether the objective is to predict the next token, and not masked words."""
        return self.config.objective == "clm"

    def _texts(self, held_out: bool) -> Iterator[TokenTable]:
        """Tokenize the documents. Each text ends with the end-of-text token."""
        documents = part_of(self.corpus, self.held_out, held_out)
        # in groups, because the text is never in memory as a whole
        while group := list(itertools.islice(documents, CHUNK_DOCUMENTS)):
            yield tokenize_parts([plain_text("\n".join(lines) + "\n") for lines in group], self.tokenizer)

    def rows(self, held_out: bool) -> Iterator[PackedRow]:
        """Pack the held-out documents, or the other documents followed by excerpts with the teacher's words."""
        documents = part_of(self.corpus, self.held_out, held_out)
        times = self.config.distillation.teacher_words
        if self.teacher is not None and times and not held_out:
            words = one_piece_words(self.teacher.load_tokenizer())
            # a second reading of the same files, because an iterator over documents serves only once
            text = part_of(self.corpus, self.held_out, held_out)
            count, seed = int((~self.held_out).sum()), self.config.training.seed
            documents = itertools.chain(documents, substituted(text, count, words, times, seed))
        length, seed = self.config.model.max_length, self.config.training.seed
        return pack(documents, self.tokenizer, length, self.config.data.short_rows, seed)

    def table_key(self, held_out: bool) -> str:
        """Return the key of the rows of a part in the token cache."""
        files = [facts["sha256"] for facts in self.corpus.fingerprints()]
        # without the first field, the file names: their contents are in `files`, and a renamed file gives the same rows
        columns = dataclasses.astuple(self.config.data)[1:]
        length, seed = self.config.model.max_length, self.config.training.seed
        times = 0 if self.teacher is None or held_out else self.config.distillation.teacher_words
        words = (times, self.teacher.fingerprint) if self.teacher is not None and times else ()
        return cache_key("pretrain", self.tokenizer.fingerprint, files, columns, seed, length, held_out, *words)

    def table(self, held_out: bool) -> TokenTable:
        """Return the rows of the held-out documents, or of the others, from the token cache or for it.

        Raises:
            DataError: there are no rows.
        """
        segments, length = self.tokenizer.uses_segments, self.config.model.max_length
        if self.is_causal:
            key = cache_key("clm", self.table_key(held_out))
            return cached_table(key, lambda: self._texts(held_out), counted=True)
        table = cached_table(
            self.table_key(held_out),
            lambda: token_tables(self.rows(held_out), segments, length),
            segments=segments,
            max_length=length,
        )
        if len(table) == 0:
            part = "held-out part of the text" if held_out else "text"
            raise DataError(f"The {part} has no word that is in the vocabulary. Give more text.")
        return table


def assemble(config: PretrainConfig, started: PretrainFolder | None, progress: Progress) -> Parts:
    """Read the text, and make or load tokenizer and encoder. This writes no output, only the token cache.

    Args:
        config: the settings.
        started: the pre-training that is continued, with its vocabulary. None trains a new vocabulary.
        progress: shows the progress.
    """
    set_random_seed(config.training.seed)
    corpus = Corpus(config.data)
    causal = config.objective == "clm"
    if causal and config.distillation.teacher is not None:
        raise ConfigError("--objective clm does not support a teacher. Leave --teacher out.")
    init = None if config.model.init is None else _continued(config.model.init, config.objective)
    teacher = None if config.distillation.teacher is None else _encoder(config.distillation.teacher)
    survey = corpus.survey()
    held_out = held_out_documents(survey.documents, config.data.holdout, config.training.seed)
    fresh = fresh_architecture(config.objective, config.model.architecture)
    architecture = fresh if init is None else init.architecture
    if init is not None:
        tokenizer = init.load_tokenizer()
    # the vocabulary of the stopped run, because the checkpoint fits only these token ids
    elif started is not None:
        tokenizer = read_tokenizer(started.path, architecture)
    else:
        progress.note(f"Training a vocabulary of {config.model.vocabulary_size:,} pieces")
        tokenizer = _fresh_tokenizer(config, corpus, held_out, architecture)
    if not causal and tokenizer.mask_id is None:
        raise PresetError(f"The tokenizer of {config.model.init} has no mask token. Give another --init.")
    backbone = _backbone(config, architecture.kind, tokenizer, init)
    settled = _settled(config, backbone)
    parts = Parts(settled, corpus, survey, held_out, architecture, tokenizer, backbone, init, teacher)
    # both tables are made now, so that faults of the text are found before anything is written
    for part in (False, True) if held_out.any() else (False,):
        parts.table(part)
    return parts


def describe_parts(parts: Parts) -> dict[str, Any]:
    """Return the manifest of a pre-training before it starts."""
    facts = {
        "files": parts.corpus.fingerprints(),
        "documents": parts.survey.documents,
        "held_out_documents": int(parts.held_out.sum()),
        "characters": parts.survey.characters,
    }
    return describe_pretraining(parts.config, facts, parts.tokenizer, parts.init, parts.teacher)


def _settled(config: PretrainConfig, backbone: Any) -> PretrainConfig:
    """Settle precision and learning rate."""
    # wider models need smaller steps, and narrower ones keep the rate
    fresh = FRESH_RATE * min(1.0, FRESH_WIDTH / backbone.hidden_dim)
    rate = config.training.learning_rate or (fresh if config.model.init is None else CONTINUED_RATE)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, precision=resolve_precision(config.model.precision)),
        training=dataclasses.replace(config.training, learning_rate=rate),
    )


def _backbone(config: PretrainConfig, kind: str, tokenizer: TextTokenizer, init: Preset | None) -> Any:
    policy = POLICIES[resolve_precision(config.model.precision)]
    if init is None:
        set_random_seed(config.training.seed)
        return fresh_backbone(config.model, tokenizer.vocabulary_size, policy, kind)
    backbone = rebuild(init.load_backbone(), policy, config.model.dropout)
    longest = backbone.max_sequence_length
    if config.model.max_length > longest:
        raise ConfigError(
            f"--max-length is {config.model.max_length}, but {init.name} accepts at most {longest} tokens. Lower it."
        )
    return backbone


def _encoder(spec: str) -> Preset:
    preset = find_preset(spec)
    if preset.architecture.is_decoder:
        raise PresetError(
            f"--teacher cannot be {preset.architecture.title} ({spec}), because its tokens see only earlier tokens. "
            "Give an encoder."
        )
    return preset


def _continued(spec: str, objective: str) -> Preset:
    preset = find_preset(spec)
    if preset.architecture.objective != objective:
        titles = ", ".join(architecture.title for architecture in trained_by(objective))
        raise PresetError(f"--init cannot continue {preset.architecture.title} ({spec}). It accepts {titles}.")
    return preset


def _fresh_tokenizer(
    config: PretrainConfig, corpus: Corpus, held_out: np.ndarray, architecture: Architecture
) -> TextTokenizer:

    def lines() -> Iterator[str]:
        # without the held-out documents: pieces made from them would make their loss too low
        return (line for document in part_of(corpus, held_out, False) for line in document)

    if config.objective == "clm":
        return fresh_byte_pairs(train_byte_pairs(lines, config.model.vocabulary_size), architecture)
    return fresh_wordpiece(train_wordpiece(lines, config.model.vocabulary_size), architecture)
