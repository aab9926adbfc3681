"""Training steps that the tasks share that read a whole text at once."""

from typing import Any

import numpy as np

from kerora.data.augment import DEFAULT_SHARES, Augmenter, words_per_row
from kerora.data.batches import Batches
from kerora.data.rows import Dataset, Rows
from kerora.errors import ConfigError
from kerora.fast.frozen_start import FrozenStart
from kerora.fast.switch import is_plain
from kerora.models.task import TOKENS_A_ROW, evaluation_tokens
from kerora.models.whole_text import WholeTextModel
from kerora.notices import notice
from kerora.settings.fit import FitConfig, TrainingConfig

# weights and rows below which masking is on by default, and its share
SMALL, FEW_ROWS, MASK_SHARE = 10_000_000, 2000, 0.3


MARKS = (".", ";", "?", ":", "!", ",")
"""The punctuation marks of `--augment aeda`."""
ONE_WORD = 0.5
"""Fraction of rows with one word from which on a notice says that methods on words do nothing."""


def check_augment(training: TrainingConfig) -> None:
    """Refuse settings of augmentation that contradict each other.

    Raises:
        ConfigError: `augment_share` without `augment`, or `augment` beside `cache_frozen` or a second masking.
    """
    if training.augment_share is not None and training.augment == "none":
        raise ConfigError(
            f"--augment-share {training.augment_share:g} is the share of --augment. Add --augment, or leave it out."
        )
    if training.augment != "none" and training.cache_frozen:
        raise ConfigError(
            f"--cache-frozen computes each row once, but --augment {training.augment} changes the rows in each epoch. "
            "Leave one out."
        )
    if training.augment == "mask" and training.mask_share:
        raise ConfigError(
            "--augment mask and --mask-share both mask tokens. Leave one out. --augment has its own --augment-share."
        )


def augmented(batches: Batches, config: TrainingConfig, model: WholeTextModel) -> Batches:
    """Let the rows of training batches change, as `--augment` says.

    Raises:
        ConfigError: the tokenizer lacks what the method needs.
    """
    if config.augment == "none":
        return batches
    tokenizer = model.tokenizer
    if config.augment == "mask" and tokenizer.mask_id is None:
        raise ConfigError(
            f"--augment mask needs a mask token, but the tokenizer of {model.preset.name} has none. Choose "
            "cutoff, aeda or swap."
        )
    encoded = tokenizer.plain_ids(MARKS)
    # A mark that the vocabulary lacks is the token for unknown text.
    marks = tuple(ids[-1] for ids in encoded if ids and not tokenizer.special[ids[-1]])
    if config.augment == "aeda" and not marks:
        raise ConfigError(
            f"--augment aeda inserts punctuation, but the vocabulary of {model.preset.name} has none. Choose another "
            "method."
        )
    batches.augmenter = Augmenter(
        config.augment,
        DEFAULT_SHARES[config.augment] if config.augment_share is None else config.augment_share,
        config.seed,
        tokenizer.special,
        tokenizer.word_starts,
        tokenizer.mask_id,
        marks,
    )
    if config.augment in ("aeda", "swap"):
        single = float(np.mean(words_per_row(batches.table, batches.augmenter) < 2))
        if single > ONE_WORD:
            notice(
                f"--augment {config.augment} works between words, but {single:.0%} of the rows have one word for the "
                "tokenizer, as in languages without spaces. They stay as they are. mask and cutoff work on tokens."
            )
    return batches


def check_frozen(training: TrainingConfig) -> None:
    """Refuse --cache-frozen with --mask-share.

    Raises:
        ConfigError: both are given.
    """
    check_augment(training)
    # a cached state would not change when other tokens are masked
    if training.cache_frozen and training.mask_share:
        raise ConfigError(
            "--cache-frozen computes each row once, but --mask-share masks other tokens at each step. Leave one out."
        )


def prepare(config: FitConfig, dataset: Dataset[Rows[Any]], model: WholeTextModel) -> None:
    """Set the share of masked tokens, and whether the frozen blocks are computed only once per row."""
    model.mask_share = settled_mask_share(config.training, len(dataset["train"]), model)
    # is_plain: KERORA_PLAIN=1 turns off every fast path, so that results can be compared without it
    model.use_frozen_start(FrozenStart(model) if config.training.cache_frozen and not is_plain() else None)


def settled_mask_share(config: TrainingConfig, rows: int, model: WholeTextModel) -> float:
    """Return the share of the tokens that training masks.

    Default: 0.3 for models of less than 10 million weights on up to 2,000 rows, else 0. Such small models know few
    words well and soon memorise few rows. Masking works against that. With `--augment mask` the default is 0.

    Args:
        config: the settings.
        rows: number of training rows.
        model: the model to train.
    """
    if config.mask_share is not None:
        return config.mask_share
    wanted = config.augment != "mask" and rows <= FEW_ROWS and model.backbone.count_params() < SMALL
    # not every tokenizer has a mask token, and cached states cannot be masked
    return MASK_SHARE if wanted and model.tokenizer.mask_id is not None and not config.cache_frozen else 0.0


def evaluation_batches(config: FitConfig, rows: Rows[Any], model: WholeTextModel) -> Batches:
    """Return rows in batches for the evaluation after each epoch."""
    size = config.training.evaluation_batch_size
    batches = model.batches(rows, batch_size=size, max_tokens=evaluation_tokens(size))
    # the states of these rows are computed once too, as each epoch evaluates them
    return with_states(model, batches, size)


def truncation_notes(model: WholeTextModel) -> list[str]:
    """Say which side was taken, if the tokenizer or the setting names the left one."""
    side, own = model.truncate, model.tokenizer.own_side
    # right is usual, so it needs no line
    if "left" not in (side, own):
        return []
    kept = "end" if side == "left" else "start"
    why = "as its tokenizer says" if side == own else f"as --truncate says; the tokenizer says {own}"
    return [f"Truncation: {side}, {why}. Of longer texts the {kept} is kept."]


def with_states(model: WholeTextModel, batches: Batches, batch_size: int) -> Batches:
    """Return the batches with the states of the frozen blocks, if the model skips these blocks."""
    # the frozen blocks give the same states in each epoch, so they are computed once before the first
    if model.frozen_start is not None:
        batches.states = model.frozen_states(batches, batch_size * TOKENS_A_ROW)
    return batches
