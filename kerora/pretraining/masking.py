"""Whole-word masks for masked-language modelling (Devlin et al. 2018, arXiv:1810.04805).

Masks are drawn anew for each batch as a function of seed, epoch and the batch's place in it, so that a
resumed run sees the same ones as a run that was not stopped.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerora.data.batches import Batches
from kerora.data.tokens import TokenTable

KEEP, REPLACE = 0.1, 0.1
_MASKING = 15


@dataclass(frozen=True)
class Vocabulary:
    """What masking needs to know of a tokenizer.

    Attributes:
        mask_id: id of the mask token.
        word_starts: whether a token starts a word, bool (tokens,); the others belong to the word before.
        special: whether a token is special, so never masked nor drawn as a replacement, bool (tokens,).
    """

    mask_id: int
    word_starts: np.ndarray
    special: np.ndarray


@dataclass(frozen=True)
class Masked:
    """Masked rows.

    Attributes:
        token_ids: int32 (rows, width), with masks and replacements.
        positions: masked places in the flattened rows, int32 (masked,).
        labels: the tokens that stood there, int64 (masked,).
    """

    token_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray


def mask_words(token_ids: np.ndarray, vocabulary: Vocabulary, share: float, generator: np.random.Generator) -> Masked:
    """Mask a share of the words of a batch, each with all its tokens.

    Of the chosen tokens 80 % become the mask, 10 % a random token that is not special, 10 % stay.

    Args:
        token_ids: int32 (rows, width).
        vocabulary: the tokens.
        share: share of the words; rounded to the nearest number, one at least.
        generator: source of the choices.
    """
    words = _word_numbers(token_ids, vocabulary)
    count = int(words.max(initial=-1)) + 1
    chosen = np.zeros(count + 1, bool)  # the last one is for special tokens, whose word is -1
    chosen[generator.permutation(count)[: max(1, round(share * count))]] = True
    places = np.flatnonzero(chosen[words])
    labels = token_ids.reshape(-1)[places].astype(np.int64)
    draw = generator.random(len(places))
    ordinary = np.flatnonzero(~vocabulary.special)
    replaced = np.where(draw < REPLACE, generator.choice(ordinary, len(places)), vocabulary.mask_id)
    flat = token_ids.reshape(-1).copy()
    flat[places] = np.where(draw >= 1 - KEEP, labels, replaced)
    return Masked(flat.reshape(token_ids.shape), places.astype(np.int32), labels)


def _word_numbers(token_ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Number the words of a batch from 0 through all rows; -1 for special tokens. Flat, int64."""
    special = vocabulary.special[token_ids]
    follows_special = np.ones_like(special)
    follows_special[:, 1:] = special[:, :-1]
    begins = ~special & (vocabulary.word_starts[token_ids] | follows_special)
    numbers: np.ndarray = np.where(special.reshape(-1), -1, np.cumsum(begins.reshape(-1)) - 1)
    return numbers


class MaskedBatches(Batches):
    """Batches for masked-language modelling.

    Each item is ``(x, y)``: x as in `Batches` with masked ``token_ids``, and ``mask_positions`` int32
    (masked,) into the flattened rows; y the labels int64 (masked,), or with a teacher the pair of labels
    and the teacher's directions int8 (rows, length, width), zeros at padding.

    Args:
        table: the tokens.
        vocabulary: what masking needs to know of the tokenizer.
        share: share of the words that are masked.
        teacher: direction of the teacher's state for each token of the table, int8 (tokens, width), or None.
        **options: as in `Batches`. Without `shuffle` the masks are the same in every epoch.
    """

    def __init__(
        self, table: TokenTable, vocabulary: Vocabulary, share: float, teacher: np.ndarray | None, **options: Any
    ) -> None:
        super().__init__(table, **options)
        self.vocabulary = vocabulary
        self.share = share
        self.teacher = teacher

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index` of what is left of this epoch."""
        (inputs,) = super().__getitem__(index)
        place = self.start + index
        generator = np.random.default_rng((self.seed, self.epoch, place, _MASKING))
        masked = mask_words(inputs["token_ids"], self.vocabulary, self.share, generator)
        inputs |= {"token_ids": masked.token_ids, "mask_positions": masked.positions}
        if self.teacher is None:
            return inputs, masked.labels
        targets = np.zeros((*masked.token_ids.shape, self.teacher.shape[1]), np.int8)
        for number, row in enumerate(self._plan[place]):
            states = self.teacher[self.table.offsets[row] : self.table.offsets[row + 1]]
            targets[number, : len(states)] = states
        return inputs, (masked.labels, targets)
