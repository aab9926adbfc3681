"""Samples rows that have several labels each, so that every label has its share of the sampled rows."""

from collections.abc import Sequence

import numpy as np


def draw_by_labels(labels: np.ndarray, count: int, seed: Sequence[int], keep: int = 0) -> np.ndarray:
    """Sample rows by iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, algorithm 1).

    The label with the fewest rows that are not assigned yet comes first. Each of its rows goes to the side, sampled or
    not sampled, that lacks more rows of this label; then to the side that lacks more rows in all; then by chance. Rows
    without labels come last.

    Two things differ from the paper. A side that has its number of rows takes no more, so exactly `count` rows are
    sampled. And a label whose share is less than a row counts as one row, so that rare labels occur on both sides.

    Args:
        labels: whether each row has each label, bool (rows, labels).
        count: rows to sample.
        seed: seed of the sample.
        keep: rows of each label that should not be sampled.

    Returns:
        Sorted row indices.
    """
    rows, sizes = len(labels), labels.sum(axis=0)
    count = min(count, rows)
    generator = np.random.default_rng(seed)
    places = generator.permutation(rows)
    highest = np.maximum(sizes - keep, 0)
    wanted = np.clip(count / max(1, rows) * sizes, np.minimum(1, highest), highest).astype(np.float64)
    state = _Sides([wanted.tolist(), (sizes - wanted).tolist()], [count, rows - count], generator)
    own = [np.flatnonzero(row).tolist() for row in labels]
    waiting: dict[int, list[int]] = {label: [] for label in np.flatnonzero(sizes).tolist()}
    for place in places.tolist():
        for label in own[place]:
            waiting[label].append(place)
    left = sizes.tolist()
    drawn = np.full(rows, -1)
    while waiting:
        # of equal numbers the first label, so that the result depends on the seed alone
        label = min(waiting, key=lambda label: (left[label], label))
        for place in waiting.pop(label):
            if drawn[place] < 0:
                drawn[place] = state.side_for(label)
                state.take(int(drawn[place]), own[place])
                for other in own[place]:
                    left[other] -= 1
    # rows without labels fill the sides
    rest = places[drawn[places] < 0]
    drawn[rest] = 1
    drawn[rest[: state.room[0]]] = 0
    return np.flatnonzero(drawn == 0)


class _Sides:
    """What the sampled rows (0) and the others (1) still lack: rows of each label, and rows in all."""

    def __init__(self, lacking: list[list[float]], room: list[int], generator: np.random.Generator) -> None:
        self.lacking = lacking
        self.room = room
        self.generator = generator

    def side_for(self, label: int) -> int:
        """Return the side that a row of a label goes to."""
        if 0 in self.room:
            return 1 - self.room.index(0)
        first, second = ((self.lacking[side][label], self.room[side]) for side in (0, 1))
        if first == second:
            return int(self.generator.integers(2))
        return 0 if first > second else 1

    def take(self, side: int, labels: Sequence[int]) -> None:
        """Count a row with these labels."""
        self.room[side] -= 1
        for label in labels:
            self.lacking[side][label] -= 1.0
