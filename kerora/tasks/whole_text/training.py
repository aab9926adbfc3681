"""Training steps that the tasks share that read a whole text at once."""

from typing import Any

from kerora.data.batches import Batches
from kerora.data.rows import Dataset, Rows
from kerora.errors import ConfigError
from kerora.fast.frozen_start import FrozenStart
from kerora.fast.switch import is_plain
from kerora.models.task import TOKENS_A_ROW, evaluation_tokens
from kerora.models.whole_text import WholeTextModel
from kerora.settings.fit import FitConfig, TrainingConfig

# weights and rows below which masking is on by default, and its share
SMALL, FEW_ROWS, MASK_SHARE = 10_000_000, 2000, 0.3


def check_frozen(training: TrainingConfig) -> None:
    """Refuse --cache-frozen with --mask-share.

    Raises:
        ConfigError: both are given.
    """
    # a cached state would not change when other tokens are masked
    if training.cache_frozen and training.mask_share:
        raise ConfigError(
            "--cache-frozen computes each row once, but --mask-share masks other tokens at each step. Leave one out."
        )


def check_no_threshold(config: FitConfig) -> None:
    """Refuse --threshold.

    Raises:
        ConfigError: it is given.
    """
    if config.training.threshold is not None:
        raise ConfigError(
            f"--threshold decides which labels a text gets with --task multi-label, not with --task {config.task}. "
            "Leave it out."
        )


def prepare(config: FitConfig, dataset: Dataset[Rows[Any]], model: WholeTextModel) -> None:
    """Set the share of masked tokens, and whether the frozen blocks are computed only once per row."""
    model.mask_share = settled_mask_share(config.training, len(dataset["train"]), model)
    # is_plain: KERORA_PLAIN=1 turns off every fast path, so that results can be compared without it
    model.use_frozen_start(FrozenStart(model) if config.training.cache_frozen and not is_plain() else None)


def settled_mask_share(config: TrainingConfig, rows: int, model: WholeTextModel) -> float:
    """Return the share of the tokens that training masks.

    Default: 0.3 for models of less than 10 million weights on up to 2,000 rows, else 0. Such small models know few
    words well and soon memorise few rows. Masking works against that.

    Args:
        config: the settings.
        rows: number of training rows.
        model: the model to train.
    """
    if config.mask_share is not None:
        return config.mask_share
    wanted = rows <= FEW_ROWS and model.backbone.count_params() < SMALL
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
