"""Whole-word masks for masked-language modelling (Devlin et al. 2018, arXiv:1810.04805).

The masks of a batch depend only on the seed, the epoch and the position of the batch in the epoch. A resumed
run therefore sees the same masks as a run that was not stopped.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerora.data.batches import Batches
from kerora.data.tokens import TokenTable

KEEP, REPLACE = 0.1, 0.1  # the values of BERT: the model must also represent tokens that are not masked
_MASKING = 15  # part of the seed, so that other random choices with the same seed are independent of the masks


@dataclass(frozen=True)
class Vocabulary:
    """The facts about a tokenizer that masking needs.

    Attributes:
        mask_id: id of the mask token.
        word_starts: whether a token starts a word, bool (tokens,). Other tokens belong to the word before them.
        special: whether a token is special, bool (tokens,). Special tokens are never masked and never a replacement.
    """

    mask_id: int
    word_starts: np.ndarray
    special: np.ndarray


@dataclass(frozen=True)
class Masked:
    """Masked rows.

    Attributes:
        token_ids: int32 (rows, width), with masks and replacements.
        positions: masked positions in the flattened rows, int32 (masked,).
        labels: the original tokens at these positions, int64 (masked,).
    """

    token_ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray


def mask_words(token_ids: np.ndarray, vocabulary: Vocabulary, share: float, generator: np.random.Generator) -> Masked:
    """Mask a fraction of the words of a batch. All tokens of a chosen word are masked.

    80 % of the chosen tokens become the mask token, 10 % a random token that is not special, and 10 % stay.

    Args:
        token_ids: int32 (rows, width).
        vocabulary: the tokens.
        share: fraction of the words. The number of words is rounded, and at least one.
        generator: source of the random choices.
    """
    words = _word_numbers(token_ids, vocabulary)
    count = int(words.max(initial=-1)) + 1
    chosen = np.zeros(count + 1, bool)  # the last one is for special tokens, whose word is -1
    # at least one word, because a batch without a masked word would have no loss
    chosen[generator.permutation(count)[: max(1, round(share * count))]] = True
    places = np.flatnonzero(chosen[words])
    labels = token_ids.reshape(-1)[places].astype(np.int64)
    draw = generator.random(len(places))
    # one random number per token: below 0.1 replace, from 0.9 on keep, between them mask
    ordinary = np.flatnonzero(~vocabulary.special)
    replaced = np.where(draw < REPLACE, generator.choice(ordinary, len(places)), vocabulary.mask_id)
    flat = token_ids.reshape(-1).copy()
    flat[places] = np.where(draw >= 1 - KEEP, labels, replaced)
    return Masked(flat.reshape(token_ids.shape), places.astype(np.int32), labels)


def _word_numbers(token_ids: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Return the number of the word of each token, flat, int64. Numbers start at 0. Special tokens have -1."""
    special = vocabulary.special[token_ids]
    # a cut word begins in the middle: its first token follows a special token, so it starts a word here
    follows_special = np.ones_like(special)
    follows_special[:, 1:] = special[:, :-1]
    begins = ~special & (vocabulary.word_starts[token_ids] | follows_special)
    # one running count over all rows: each row begins a word, so no word spans two rows
    numbers: np.ndarray = np.where(special.reshape(-1), -1, np.cumsum(begins.reshape(-1)) - 1)
    return numbers


class MaskedBatches(Batches):
    """Batches for masked-language modelling.

    Each item is ``(x, y)``. x is as in `Batches`, with masked ``token_ids``, and has ``mask_positions`` int32
    (masked,), the positions in the flattened rows. y is the labels int64 (masked,). With a teacher, y is the pair
    of labels and directions of the teacher's states, int8 (rows, length, width), with zeros at padding.

    Args:
        table: the tokens.
        vocabulary: the facts about the tokenizer that masking needs.
        share: fraction of the words that is masked.
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
        """Return batch `index` of the rest of this epoch."""
        (inputs,) = super().__getitem__(index)
        # the place in the whole epoch: a resumed epoch serves only its rest, and must see the same masks
        place = self.start + index
        generator = np.random.default_rng((self.seed, self.epoch, place, _MASKING))
        masked = mask_words(inputs["token_ids"], self.vocabulary, self.share, generator)
        inputs |= {"token_ids": masked.token_ids, "mask_positions": masked.positions}
        if self.teacher is None:
            return inputs, masked.labels
        # int8 (rows, length, width of the teacher): a quarter of float32, and only directions are learnt
        targets = np.zeros((*masked.token_ids.shape, self.teacher.shape[1]), np.int8)
        for number, row in enumerate(self._plan[place]):
            states = self.teacher[self.table.offsets[row] : self.table.offsets[row + 1]]
            targets[number, : len(states)] = states
        return inputs, (masked.labels, targets)
