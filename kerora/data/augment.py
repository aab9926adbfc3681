"""Changes rows of tokens during training. What is changed depends only on the seed, the epoch and the row.

So a run that was stopped and resumed sees the same rows as a run without interruption. Only training rows are changed.
"""

from dataclasses import dataclass

import numpy as np

from kerora.data.tokens import TokenTable

STREAM = 27
"""Keeps the random numbers apart from those of the order of the rows, which start from seed and epoch too."""
DEFAULT_SHARES = {"mask": 0.3, "cutoff": 0.1, "aeda": 0.1, "swap": 0.1}


@dataclass(frozen=True)
class Augmenter:
    """Changes rows of tokens by one method.

    - `mask`: a random sample of the tokens becomes the mask token.
    - `cutoff`: a random stretch of the tokens is removed (span cutoff, Shen et al. 2020, arXiv:2009.13818).
    - `aeda`: punctuation marks are inserted between words (Karimi et al. 2021, arXiv:2108.13230).
    - `swap`: random pairs of words of one text change places (Wei and Zou 2019, arXiv:1901.11196).

    Special tokens stay. A row never becomes longer than the limit of the table, and no text becomes empty.

    Attributes:
        method: one of the above.
        share: fraction of the tokens, or for `aeda` and `swap` of the words, 0 to 1.
        seed: seed of the random numbers.
        special: whether a token is special, bool (tokens of the vocabulary,).
        starts: whether a token starts a word, bool (tokens of the vocabulary,).
        mask_id: id of the mask token. Only `mask` needs it.
        marks: ids of the punctuation marks. Only `aeda` needs them.
    """

    method: str
    share: float
    seed: int
    special: np.ndarray
    starts: np.ndarray
    mask_id: int | None = None
    marks: tuple[int, ...] = ()

    def table(self, table: TokenTable, rows: np.ndarray, epoch: int) -> TokenTable:
        """Return a table of the changed rows.

        Args:
            table: all rows.
            rows: numbers of the rows, (rows,).
            epoch: the epoch.
        """
        parts = [self._row(table, int(row), epoch) for row in rows]
        ids = np.concatenate([np.zeros(0, np.int32), *(ids for ids, _ in parts)]).astype(np.int32)
        offsets = np.cumsum([0, *(len(ids) for ids, _ in parts)], dtype=np.int64)
        segments = None if table.segments is None else np.concatenate([kinds for _, kinds in parts]).astype(np.uint8)
        return TokenTable(ids, offsets, segments, table.max_length)

    def _row(self, table: TokenTable, row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and segments of a row. Segments are zeros if the table has none."""
        place = slice(table.offsets[row], table.offsets[row + 1])
        ids = np.array(table.ids[place])
        segments = np.zeros(len(ids), np.uint8) if table.segments is None else np.array(table.segments[place])
        generator = np.random.default_rng((self.seed, epoch, row, STREAM))
        if self.method == "mask":
            assert self.mask_id is not None
            hidden = (generator.random(len(ids)) < self.share) & ~self.special[ids]
            return np.where(hidden, self.mask_id, ids), segments
        order = {"cutoff": self._cutoff, "swap": self._swap, "aeda": self._aeda}[self.method](ids, segments, generator)
        if self.method != "aeda":
            return ids[order], segments[order]
        # -1 stands for an inserted mark, which belongs to the text of the token before it.
        marks = generator.choice(self.marks, len(order)) if self.marks else np.zeros(len(order), np.int64)
        before = np.maximum.accumulate(order)
        kept = slice(0, None) if table.max_length is None else self._within(order, len(ids), table.max_length)
        return np.where(order < 0, marks, ids[before])[kept], segments[before][kept]

    @staticmethod
    def _within(order: np.ndarray, count: int, limit: int) -> np.ndarray:
        """Return the places of an order that fit into the limit: inserted marks beyond it are left out."""
        room = max(0, limit - count)
        inserted = order < 0
        found: np.ndarray = ~inserted | (np.cumsum(inserted) <= room)
        return found

    def _runs(self, ids: np.ndarray, segments: np.ndarray) -> list[np.ndarray]:
        """Return the places of the tokens of each text, without special tokens."""
        plain = np.flatnonzero(~self.special[ids])
        breaks = np.flatnonzero((np.diff(plain) > 1) | (np.diff(segments[plain].astype(int)) != 0)) + 1
        return [run for run in np.split(plain, breaks) if len(run)]

    def _words(self, ids: np.ndarray, run: np.ndarray) -> list[np.ndarray]:
        starts = np.flatnonzero(self.starts[ids[run]])
        return list(np.split(run, starts[starts > 0]))

    def _cutoff(self, ids: np.ndarray, segments: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        removed = np.zeros(len(ids), bool)
        for run in self._runs(ids, segments):
            size = min(round(self.share * len(run)), len(run) - 1)
            start = int(generator.integers(len(run) - size + 1))
            removed[run[start : start + size]] = True
        return np.flatnonzero(~removed)

    def _swap(self, ids: np.ndarray, segments: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        order = np.arange(len(ids))
        for run in self._runs(ids, segments):
            words = self._words(ids, run)
            if len(words) < 2:
                continue
            for _ in range(max(1, round(self.share * len(words) / 2))):
                one, other = generator.choice(len(words), 2, replace=False)
                words[one], words[other] = words[other], words[one]
            order[run] = np.concatenate(words)
        return order

    def _aeda(self, ids: np.ndarray, segments: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        before: list[int] = []
        for run in self._runs(ids, segments):
            words = self._words(ids, run)
            # Between words only: a mark before the first word would stand for nothing in between.
            gaps = [int(word[0]) for word in words[1:]]
            count = min(len(gaps), max(1, round(self.share * len(words))))
            before += generator.choice(gaps, count, replace=False).tolist() if gaps else []
        return np.insert(np.arange(len(ids)), sorted(before), -1)


def words_per_row(table: TokenTable, augmenter: Augmenter, rows: int = 1000) -> np.ndarray:
    """Return the number of words of the first rows, int64 (rows,)."""
    count = min(len(table), rows)
    flags = augmenter.starts[table.ids[: table.offsets[count]]] & ~augmenter.special[table.ids[: table.offsets[count]]]
    # A row may be empty, so the sums are differences of a running sum.
    sums = np.concatenate([[0], np.cumsum(flags)])
    found: np.ndarray = np.diff(sums[table.offsets[: count + 1]])
    return found
