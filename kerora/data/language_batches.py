"""Batches for language models: the tokens, the next token at each position, and which of them the loss counts."""

from typing import Any

import numpy as np

from kerora.data.batches import Batches, rectangle
from kerora.data.language_tokens import Stretches
from kerora.data.tokens import TokenTable


class LanguageBatches(Batches):
    """Batches of ``(x, y, weights)`` for a `CausalLM`. Order, epochs and resume work as in `Batches`.

    x holds ``token_ids`` and ``padding_mask``, int32 (rows, length), and with `separate` also ``document_ids``, int32
    (rows, length). y is the next token at each position, int64 (rows, length). The weights are 1 if the loss counts
    that next token, else 0, float32 (rows, length).

        tokens      P P P C C E        P prompt, C completion, E end of text
        x           P P P C C .
        y           P P C C E .
        weights     0 0 1 1 1 .

    Args:
        table: the tokens, with marks for those that the loss counts.
        rows: the rows as stretches of the table.
        separate: whether the texts of a row are hidden from each other.
        **options: see `Batches`.
    """

    def __init__(self, table: TokenTable, rows: Stretches, *, separate: bool = False, **options: Any) -> None:
        self.rows = rows
        self.separate = separate
        # Before the base class, which makes the plan. Rounding up to 8 must not exceed the positions of the model.
        self._longest = int(rows.lengths.max(initial=1))
        super().__init__(table, **options)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, int64 (rows,)."""
        return self.rows.lengths

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index` of the rest of this epoch."""
        self._served = max(self._served, index + 1)
        return self._batch(self._plan[self.start + index])

    def predicted(self, index: int) -> np.ndarray:
        """Return the places in the table of the tokens that count in batch `index`, row by row, int64 (tokens,)."""
        rows = self._plan[self.start + index]
        mask, places = rectangle(self.rows.starts[rows], self.rows.lengths[rows], self._longest)
        counted: np.ndarray = (places + 1)[self._counted(rows, mask, places)]
        return counted

    def _batch(self, rows: np.ndarray) -> tuple[Any, ...]:
        starts = self.rows.starts[rows]
        # mask (rows, width) and places (tokens,): token `places[i]` is the i-th True of the mask, row by row.
        mask, places = rectangle(starts, self.rows.lengths[rows], self._longest)
        self.tokens_served += len(places)
        inputs = {"token_ids": np.full(mask.shape, self.pad_id, np.int32), "padding_mask": mask.astype(np.int32)}
        inputs["token_ids"][mask] = self.table.ids[places]
        targets = np.zeros(mask.shape, np.int64)
        # The last token of the table is in no row (see `_blocks`), so `places + 1` stays inside.
        targets[mask] = self.table.ids[places + 1]
        weights = np.zeros(mask.shape, np.float32)
        weights[mask] = self._counted(rows, mask, places)
        if self.separate:
            numbers = np.searchsorted(self.table.offsets, places, side="right")
            # Padding gets the number of the document before it, so that the numbers never decrease in a row.
            inputs["document_ids"] = np.zeros(mask.shape, np.int32)
            inputs["document_ids"][mask] = numbers
            inputs["document_ids"] = np.maximum.accumulate(inputs["document_ids"], axis=1)
        return inputs, targets, weights

    def _counted(self, rows: np.ndarray, mask: np.ndarray, places: np.ndarray) -> np.ndarray:
        # The mark of the target decides, not that of the input.
        counted = self.table.counts(places + 1)
        if not self.rows.across:
            # A target in another text than its input does not count.
            offsets = self.table.offsets
            counted &= np.searchsorted(offsets, places, "right") == np.searchsorted(offsets, places + 1, "right")
        if self.rows.first_counted is not None:
            # One limit for each row, repeated for each of its tokens: (tokens,).
            counted &= places + 1 >= np.repeat(self.rows.first_counted[rows], mask.sum(axis=1))
        return counted
