"""The baseline of language models: a trigram model of the same tokens, and the frequency of each token."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kerora.data.documents import Documents
from kerora.data.tokens import TokenTable
from kerora.errors import DataError
from kerora.evaluation.metrics import language_metrics
from kerora.evaluation.ngrams import NgramModel
from kerora.evaluation.significance import Difference, row_difference
from kerora.evaluation.tested import outcome, tested
from kerora.models.causal_lm import CausalLM
from kerora.settings.fit import FitConfig
from kerora.tasks.contract import Evaluation

NAME = "a trigram model of the same tokens"
LEAST = "the frequency of each token"
# training tokens above which the counts would need gigabytes
MOST_TOKENS = 50_000_000
# neighbouring tokens depend on each other, so the bootstrap draws stretches of them
STRETCH, FEWEST_STRETCHES = 128, 50


def baseline(
    config: FitConfig, model: CausalLM, train: Documents, rows: Mapping[str, Documents], evaluation: Evaluation
) -> dict[str, dict[str, Any]]:
    """Count the trigrams of the training texts, and compare their model with the tuned one on the same tokens.

    Both models predict the tokens of the same tokenizer, so that loss and perplexity can be compared. The base model
    before training is another baseline, which each run has.
    """
    table = model.token_table(train)
    if len(table.ids) > MOST_TOKENS and not config.training.baseline:
        raise DataError(
            f"The training texts have {len(table.ids):,} tokens, and the default counts up to {MOST_TOKENS:,}. "
            "--baseline counts them."
        )
    trigrams, unigrams = (_counted(table, model.backbone.vocabulary_size, order) for order in (3, 1))
    found = {}
    for split, measured in evaluation.details.items():
        held = model.token_table(rows[split])
        # the tokens that the tuned model predicted
        places = np.flatnonzero(~np.isnan(measured.by_token))
        if not len(places):
            continue
        simple, simplest = (each.losses(held.ids, held.offsets, places) for each in (trigrams, unigrams))
        metrics, least = (
            language_metrics(each.sum(), len(places), int(measured.sizes.sum())) for each in (simple, simplest)
        )
        difference = stretches_difference(measured.by_token[places].astype(np.float64) - simple)
        found[split] = outcome(NAME, metrics, LEAST, least, tested("loss", difference, lower_is_better=True))
    return found


def stretches_difference(losses: np.ndarray) -> Difference:
    """Return the mean of differences of the losses of tokens, with a bootstrap interval over stretches of tokens.

    Args:
        losses: loss of the tuned model minus loss of the baseline, in the order of the tokens, float64 (tokens,).
    """
    length = max(1, min(STRETCH, len(losses) // FEWEST_STRETCHES))
    starts = np.arange(0, len(losses), length)
    sums, sizes = np.add.reduceat(losses, starts), np.diff([*starts, len(losses)])
    return row_difference(lambda some: float(sums[some].sum() / sizes[some].sum()), len(starts))


def _counted(table: TokenTable, vocabulary: int, order: int) -> NgramModel:
    return NgramModel(table.ids, table.offsets, table.counts(), vocabulary, order)
