"""Makes batches of tokens from rows of similar length. The order depends only on the seed and the epoch.

    row lengths   7  93  12  88  9 ...      shuffled by (seed, epoch)
    pools         [ rows of 50 batches ]    sorted by length inside a pool
    batches       [7 9 12 ...] [88 93 ...]  each padded to its longest row, rounded up to 8

Rows of similar length share a batch, so there is little padding. The batches still differ from epoch to epoch.
"""

from typing import Any

import keras
import numpy as np

from kerora.data.augment import Augmenter
from kerora.data.tokens import TokenTable

# Batches have fewer different widths, at the price of at most 7 columns of padding.
PAD_MULTIPLE = 8
# Larger pools need less padding but mix rows less. 50 is also the most that transformers takes to group by length.
POOL_BATCHES = 50
STATES = "states"
"""Name of the input with precomputed outputs of the frozen first layers of a model."""
WINDOWS = "windows"
"""Name of the input with the number of rows of each document. The model then joins the outputs of these rows."""


class Batches(keras.utils.PyDataset):
    """Batches of token ids for `model.fit`, `evaluate` and `predict`.

    Each item is ``(x, y)`` or ``(x, y, weights)`` with ``x["token_ids"]`` int32 (rows, length),
    ``x["padding_mask"]`` int32 (rows, length; 1 for tokens) and, if the model takes them,
    ``x["segment_ids"]`` int32 (rows, length). y is (rows,), int64 for class numbers and float32 for other numbers, or
    (rows, values) of float32 if a row has several.

    The order of an epoch depends only on `seed` and `epoch`. The epoch advances automatically after its last batch.
    `move_to` sets the epoch and a position in it, to continue a stopped run. `tokens_served` counts the tokens without
    padding that were returned so far. If `states` (tokens, width) is set, x also holds ``x["states"]`` (rows, length,
    width), zero at padding; see `kerora.fast.frozen_start`.

    If the table divides documents into windows, each document counts as one row above: a batch has all windows of its
    documents. If `pooled` is set, x holds ``x["windows"]`` int64 (documents,) and the model joins the outputs of the
    windows. Else y and the weights are repeated for each window, and a window of a document with n windows has weight
    1/n, so that the weights of a document add up to the weight of one row.

    Args:
        table: the tokens.
        labels: class numbers or other numbers (rows,), or (rows, values), such as whether each row has each label (bool
            takes a quarter of the memory). None for prediction.
        batch_size: rows in a batch. Default: 32.
        pad_id: id of the padding in short rows. Default: 0.
        shuffle: whether each epoch has a new random order. If False, all rows are sorted by length, longest first.
        seed: seed of the order. Default: 0.
        class_weights: weight of each class (classes,), or None.
        balance_by: with `shuffle`, a number for each row (rows,), such as its class. Each epoch then has equally many
            rows of each number, and in all as many rows as the table: rows of rare numbers are repeated, and of
            frequent ones a random part is taken. Default: None, each row once.
        row_weights: weight of each row (rows,), or None. Not beside `class_weights`.
        by_length: without `shuffle`, whether the longest rows come first. False keeps the given order. Default: True.
        max_tokens: without `shuffle`, largest number of tokens in a batch including padding; a batch has at least one
            row. Default: None, batches have `batch_size` rows.

    Attributes:
        pooled: whether the model joins the outputs of the windows of a document. Default: the opposite of `shuffle`, as
            only training shuffles.
        mean_weight: whether the weights of windows are scaled so that their mean in a batch is that of the documents.
            A loss of Keras divides by the number of rows. Default: False.
        augmenter: changes the tokens of the rows, other ones in each epoch. Not beside `states`. Default: None.
    """

    def __init__(
        self,
        table: TokenTable,
        labels: Any = None,
        *,
        batch_size: int = 32,
        pad_id: int = 0,
        shuffle: bool = True,
        seed: int = 0,
        class_weights: Any = None,
        balance_by: Any = None,
        row_weights: Any = None,
        by_length: bool = True,
        max_tokens: int | None = None,
    ) -> None:
        # More workers make batches ahead of time in threads. `_served` and `tokens_served` would then be too high.
        super().__init__(workers=1, use_multiprocessing=False)
        self.table = table
        self.labels = None if labels is None else _as_targets(labels)
        self.batch_size = batch_size
        self.pad_id = pad_id
        self.shuffle = shuffle
        self.seed = seed
        self.class_weights = None if class_weights is None else np.asarray(class_weights, dtype=np.float32)
        self.balance_by = None if balance_by is None else np.asarray(balance_by)
        self.row_weights = None if row_weights is None else np.asarray(row_weights, dtype=np.float32)
        self.by_length = by_length
        self.max_tokens = max_tokens
        self.pooled = not shuffle
        self.mean_weight = False
        self._documents = table.documents  # first row of each document, int64 (documents + 1,)
        self.states: np.ndarray | None = None
        self.augmenter: Augmenter | None = None
        self.epoch = 0
        self.start = 0
        self.tokens_served = 0
        self._served = 0
        self._plan = self._make_plan()  # row numbers of each batch, each int64 (rows,)

    def __len__(self) -> int:
        """Return the number of batches in the rest of this epoch."""
        return len(self._plan) - self.start

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches in a whole epoch."""
        return len(self._plan)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row, or in each document of windows, int64 (rows,)."""
        return np.diff(self.table.document_offsets)

    @property
    def order(self) -> np.ndarray:
        """Row numbers in the order in which this epoch serves them."""
        return np.concatenate(self._plan) if self._plan else np.zeros(0, np.int64)

    def rows_at(self, place: int) -> np.ndarray:
        """Return the numbers of the rows, or of the documents, of a batch of this epoch, int64 (rows,)."""
        return self._plan[place]

    def move_to(self, epoch: int, start: int = 0) -> None:
        """Go to an epoch, past its first `start` batches."""
        # The plan depends only on the epoch, and sorting many rows takes time.
        if epoch != self.epoch:
            self.epoch = epoch
            self._plan = self._make_plan()
        self.start = start
        self._served = 0

    def on_epoch_end(self) -> None:
        """Advance to the next epoch if all batches of this one were returned."""
        # Keras calls this also between its symbolic build, which takes one batch, and the first epoch.
        if self.shuffle and len(self) > 0 and self._served >= len(self):
            self.move_to(self.epoch + 1)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return batch `index` of the rest of this epoch."""
        self._served = max(self._served, index + 1)
        documents = self._plan[self.start + index]
        rows, counts = self._rows(documents)
        inputs = self._inputs(rows)
        self.tokens_served += int(inputs["padding_mask"].sum())
        if self.states is not None:
            starts = self.table.offsets[rows]
            mask, places = rectangle(starts, self.table.offsets[rows + 1] - starts, self.table.max_length)
            inputs[STATES] = np.zeros((*mask.shape, self.states.shape[1]), self.states.dtype)
            inputs[STATES][mask] = self.states[places]
        if counts is not None and self.pooled:
            inputs[WINDOWS] = counts
        if self.labels is None:
            return (inputs,)
        labels = self.labels[documents]
        labels = labels.astype(np.float32) if labels.dtype == bool else labels
        weights = self._weights(documents, labels)
        if counts is not None and not self.pooled:
            labels = np.repeat(labels, counts, axis=0)
            weights = self._window_weights(weights, counts)
        return (inputs, labels) if weights is None else (inputs, labels, weights)

    def _inputs(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        if self.augmenter is None:
            return padded_inputs(self.table, rows, self.pad_id)
        changed = self.augmenter.table(self.table, rows, self.epoch)
        return padded_inputs(changed, np.arange(len(rows)), self.pad_id)

    def _rows(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the rows of documents, and their number for each document. None if no document has several."""
        if self.table.windows is None:
            return documents, None
        counts = self.table.windows[documents]
        # the numbers 0, 1, ... inside each document, added to its first row
        inner = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(self._documents[documents], counts) + inner, counts

    def _weights(self, documents: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
        if self.row_weights is not None:
            return self.row_weights[documents]
        if self.class_weights is None:
            return None
        weights: np.ndarray = self.class_weights[labels]
        return weights

    def _window_weights(self, weights: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
        """Divide the weight of each document among its windows, float32 (rows,)."""
        shares = (1.0 if weights is None else weights) / counts
        if self.mean_weight:
            shares = shares * (counts.sum() / len(counts))
        return np.repeat(shares, counts).astype(np.float32)

    def _make_plan(self) -> list[np.ndarray]:
        lengths = self.lengths
        if not self.shuffle:
            if not self.by_length:
                return _cut(np.arange(len(lengths)), self.batch_size)
            # Longest first, as `_cut_by_tokens` requires. The stable sort makes the order the same on every machine.
            rows = np.argsort(-lengths, kind="stable")
            if self.max_tokens is None:
                return _cut(rows, self.batch_size)
            return _cut_by_tokens(rows, self._sizes(rows), self.max_tokens)
        # Without state between epochs, a stopped run can be continued in any epoch.
        # A pair and not a sum: seed 0 in epoch 1 must differ from seed 1 in epoch 0.
        generator = np.random.default_rng((self.seed, self.epoch))
        rows = np.arange(len(lengths)) if self.balance_by is None else balanced_rows(self.balance_by, generator)
        rows = generator.permutation(rows)
        batches: list[np.ndarray] = []
        for pool in _cut(rows, self.batch_size * POOL_BATCHES):
            batches += _cut(pool[np.argsort(-lengths[pool], kind="stable")], self.batch_size)
        # Without this second permutation each pool would start with its longest rows and end with its shortest.
        return [batches[place] for place in generator.permutation(len(batches))]

    def _sizes(self, documents: np.ndarray) -> np.ndarray:
        """Return the tokens that each document takes in a batch, with padding, (documents,)."""
        if self.table.windows is None:
            return _widths(self.lengths[documents], self.table.max_length)
        longest = np.maximum.reduceat(self.table.lengths, self._documents[:-1])[documents]
        return _widths(longest, self.table.max_length) * self.table.windows[documents]


def balanced_rows(numbers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return as many places as there are numbers, with each of the numbers equally often, up to one place.

    A place is repeated only after all others of its number.

    Args:
        numbers: a number for each place, (places,).
        generator: draws the places.
    """
    kinds, kind_of = np.unique(numbers, return_inverse=True)
    share, rest = divmod(len(numbers), max(1, len(kinds)))
    # which kinds get one place more is drawn anew in each epoch
    wanted = share + (generator.permutation(len(kinds)) < rest)
    parts = [np.zeros(0, np.int64)]
    for kind, count in enumerate(wanted):
        places = np.flatnonzero(kind_of == kind)
        whole, part = divmod(int(count), len(places))
        parts += [*([places] * whole), generator.permutation(places)[:part]]
    return np.concatenate(parts)


def _as_targets(values: Any) -> np.ndarray:
    targets = np.asarray(values)
    if targets.dtype == bool and targets.ndim == 2:
        return targets
    # torch indexes classes with int64. Values to regress on have float32, the type of the head.
    return targets.astype(np.float32 if targets.dtype.kind == "f" else np.int64)


def padded_inputs(table: TokenTable, rows: np.ndarray, pad_id: int) -> dict[str, np.ndarray]:
    """Pad rows of tokens to the length of the longest row, rounded up to a multiple of 8.

    Returns:
        ``token_ids``, ``padding_mask`` (1 for tokens, 0 for padding), and ``segment_ids`` if the table has them;
        int32 (rows, width).
    """
    starts = table.offsets[rows]
    mask, places = rectangle(starts, table.offsets[rows + 1] - starts, table.max_length)
    inputs = {"token_ids": np.full(mask.shape, pad_id, np.int32), "padding_mask": mask.astype(np.int32)}
    inputs["token_ids"][mask] = table.ids[places]
    if table.segments is not None:
        inputs["segment_ids"] = np.zeros(mask.shape, np.int32)
        inputs["segment_ids"][mask] = table.segments[places]
    return inputs


def rectangle(starts: np.ndarray, lengths: np.ndarray, max_length: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Arrange stretches of a table as padded rows, as wide as the longest one, rounded up to a multiple of 8.

    Args:
        starts: first token of each stretch, (rows,).
        lengths: tokens of each stretch, (rows,).
        max_length: width that rounding must not exceed, or None.

    Returns:
        A mask, bool (rows, width), True for tokens; and the places of the tokens in the table, row by row, (tokens,).
    """
    # (width,). `initial=1` gives a batch of no rows a width too.
    columns = np.arange(_widths(lengths.max(initial=1, keepdims=True), max_length)[0])
    mask = columns < lengths[:, None]
    # A mask selects in the order of the rows, so x[mask] = ids[places] puts each token into its row.
    return mask, (starts[:, None] + columns)[mask]


def _widths(lengths: np.ndarray, max_length: int | None) -> np.ndarray:
    # -(-n // k) * k rounds n up to a multiple of k.
    widths = -(-np.maximum(lengths, 1) // PAD_MULTIPLE) * PAD_MULTIPLE
    # The positions of a model may end at a length that is not a multiple of 8.
    return widths if max_length is None else np.maximum(lengths, np.minimum(widths, max_length))


def _cut_by_tokens(rows: np.ndarray, widths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Divide rows, longest first, into batches of at most `max_tokens` tokens, or of one row."""
    batches, start = [], 0
    while start < len(rows):
        # The first row is the longest one, so its width is the width of the batch.
        stop = start + max(1, max_tokens // int(widths[start]))
        batches.append(rows[start:stop])
        start = stop
    return batches


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def balanced_class_weights(labels: Any, classes: int) -> np.ndarray:
    """Return the weight rows / (classes * rows of the class), float32 (classes,), or 0 for a class without rows.

    Source: King and Zeng 2001. scikit-learn calls this heuristic "balanced".
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes)
    with np.errstate(divide="ignore"):
        weights = len(labels) / (classes * counts)
    return np.where(counts > 0, weights, 0.0).astype(np.float32)
