"""Settings that depend on the hardware, the data and the model, settled before a run starts.

The learning rate and the number of updates were found on three sets with a 384 wide encoder (see
docs/defaults.md): LoRA wants a rate about ten times that of full fine-tuning, and
few rows want more epochs rather than more learning in each.
"""

import dataclasses
import math

from kerora.data.batches import Batches
from kerora.data.rows import Dataset
from kerora.errors import ConfigError
from kerora.evaluation.metrics import LANGUAGE_METRICS, SINGLE_METRICS
from kerora.models.precision import resolve_precision
from kerora.models.task import Task
from kerora.settings.fit import FitConfig, TrainingConfig

BASE_WIDTH = 768
BASE_RATES = {"lora": 1e-3, "head": 1e-3, "full": 1e-4}
"""By method, for a model that is 768 wide. That of full fine-tuning is ELECTRA's (Clark et al. 2020, arXiv:2003.10555,
table 6), which at a width of 256 has 3e-4."""
LEAST_EPOCHS, MOST_EPOCHS, ENOUGH_UPDATES = 3, 12, 400
SMALL, FEW_ROWS, MASK_SHARE = 10_000_000, 2000, 0.3

MONITORS = {
    "classification": ("val_macro_f1", {"loss", "accuracy", *(f"val_{name}" for name in SINGLE_METRICS)}),
    "causal-lm": ("val_loss", {"loss", "perplexity", *(f"val_{name}" for name in LANGUAGE_METRICS)}),
}
"""By task: what early stopping follows by default, and what it can follow."""


def default_learning_rate(width: int, method: str = "lora") -> float:
    """Return the method's rate x 768 / width: wider models want smaller steps."""
    return BASE_RATES[method] * BASE_WIDTH / width


def default_epochs(updates_per_epoch: int) -> int:
    """Return 3 epochs, on few rows as many as make 400 updates, 12 at most."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, math.ceil(ENOUGH_UPDATES / max(1, updates_per_epoch))))


def settle_mask_share(config: TrainingConfig, rows: int, model: Task) -> float:
    """Return the share of the tokens that training hides.

    Where the settings leave it open, 0.3 for models of less than 10 million weights on up to 2,000 rows: they know few
    words well, and soon know the rows by heart.

    Args:
        config: the settings.
        rows: training rows.
        model: what is trained.

    Raises:
        ConfigError: frozen states would be cached, which are those of whole rows.
    """
    if config.cache_frozen and config.mask_share:
        raise ConfigError(
            "--cache-frozen computes a row once, --mask-share hides other tokens each time. Leave one out."
        )
    if config.mask_share is not None:
        return config.mask_share
    wanted = rows <= FEW_ROWS and model.backbone.count_params() < SMALL
    return MASK_SHARE if wanted and model.tokenizer.mask_id is not None and not config.cache_frozen else 0.0


def updates_per_epoch(rows: int, config: TrainingConfig) -> int:
    """Return the optimizer's updates in an epoch, the remainder's included."""
    return math.ceil(math.ceil(rows / config.batch_size) / config.accumulate)


def settle_for_data(config: FitConfig, dataset: Dataset) -> FitConfig:
    """Settle precision, epochs and early stopping, which is off without validation rows.

    The epochs of a language model are settled later, when its rows are known.

    Raises:
        ConfigError: early stopping would monitor a value that there is not.
    """
    training = config.training
    if "validation" not in dataset.splits:
        training = dataclasses.replace(training, early_stopping=False)
    monitor, known = MONITORS[config.task]
    training = dataclasses.replace(training, monitor=training.monitor or monitor)
    if training.early_stopping and training.monitor not in known:
        raise ConfigError(f"Unknown --monitor '{training.monitor}'. Known: {', '.join(sorted(known))}.")
    epochs = training.epochs
    if config.task == "classification":
        epochs = epochs or default_epochs(updates_per_epoch(len(dataset.splits["train"]), training))
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, precision=resolve_precision(config.model.precision)),
        training=dataclasses.replace(training, epochs=epochs),
    )


def settle_for_model(config: FitConfig, model: Task, batches: Batches) -> FitConfig:
    """Settle the learning rate, the epochs, and what the model can take: its length, hidden tokens."""
    updates = math.ceil(batches.batches_per_epoch / config.training.accumulate)
    epochs = config.training.epochs or default_epochs(updates)
    rate = config.training.learning_rate or default_learning_rate(model.backbone.hidden_dim, config.lora.method)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, max_length=model.max_length),
        training=dataclasses.replace(config.training, learning_rate=rate, epochs=epochs, mask_share=model.mask_share),
    )
