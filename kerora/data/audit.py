"""Checks a data set before training: class balance, lengths, duplicates, leakage."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np

from kerora.data.documents import Documents
from kerora.data.rows import Dataset, Rows, S, Split
from kerora.data.tokens import RowTokenizer, TokenTable, cached_tokens

T = TypeVar("T", bound=Hashable)
PERCENTILES = (50, 90, 95, 99)
EXAMPLES = 3
# The token table holds cut rows, so exact lengths need a second pass of the tokenizer. This bounds its time.
EXACT_ROWS = 2000


@dataclass(frozen=True)
class SplitAudit:
    """The audit of one split.

    Attributes:
        rows: number of rows.
        labels: number of rows by class name.
        lengths: the 50th, 90th, 95th and 99th percentile and the maximum (``p50`` ... ``p99``, ``max``).
        truncated: fraction of the rows that are longer than the maximum length, from 0 to 1.
        duplicates: number of rows whose text occurs earlier in the split.
        conflicts: number of rows whose text occurs in the split with more than one label.
        unknown: number of rows whose tokens are mostly the token for unknown text. 0 without a tokenizer.
        lost: fraction of the tokens (or words) of all rows that the model does not read, from 0 to 1.
        windows: number of windows of the rows that are longer. 0 if these rows are cut.
    """

    rows: int
    labels: dict[str, int]
    lengths: dict[str, int]
    truncated: float
    duplicates: int
    conflicts: int
    unknown: int = 0
    lost: float = 0.0
    windows: int = 0


@dataclass(frozen=True)
class Leakage:
    """Rows of a split whose text is also a training text.

    Attributes:
        count: number of such rows.
        share: their fraction of the split, from 0 to 1.
        examples: the first of these rows as (id in the split, id in train, text).
    """

    count: int
    share: float
    examples: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Audit:
    """The audit of a data set.

    Attributes:
        name: name of the data set.
        unit: unit of the lengths: ``tokens`` or ``words``.
        max_length: length in that unit. Longer rows count as truncated.
        splits: the audit of each split.
        leakage: by split (validation, test), the texts that are also training texts.
    """

    name: str
    unit: str
    max_length: int
    splits: dict[str, SplitAudit]
    leakage: dict[str, Leakage]


@dataclass(frozen=True)
class TextCounts:
    """Counts of the texts of one split for a language model.

    Attributes:
        form: ``text``, ``completion`` (of prompts) or ``turns`` (of conversations).
        texts: number of texts.
        parts: number of parts. A prompt with its completion has two parts, a conversation one for each turn.
        size: number of tokens, or words.
        counted: number of tokens, or words, that the loss counts.
        characters: number of characters.
    """

    form: str
    texts: int
    parts: int
    size: int
    counted: int
    characters: int


def audit_texts(
    dataset: Dataset[Documents], part_lengths: Callable[[Sequence[str]], Sequence[int]] | None, max_length: int
) -> tuple[Audit, dict[str, TextCounts]]:
    """Audit the texts of a language model.

    Args:
        dataset: the texts.
        part_lengths: returns the number of tokens in each piece of text, without special tokens. End-of-text tokens
            are then added to it. With None, words are counted.
        max_length: the longest row, in tokens.

    Returns:
        The audit, and the counts of each split.
    """
    lengths: dict[str, Sequence[int]] = {}
    counts = {}
    for split, rows in dataset:
        flat = [part for parts in rows.parts for part in parts]
        measured = (part_lengths or _word_counts)([part.text for part in flat])
        # Words have no end-of-text token, so the 1 is added only to tokens.
        sizes = [size + (part.ends and part_lengths is not None) for part, size in zip(flat, measured, strict=True)]
        # ends[n]:ends[n + 1] are the parts of text n in `flat`.
        ends = np.cumsum([0, *(len(parts) for parts in rows.parts)])
        lengths[split] = [sum(sizes[start:end]) for start, end in pairwise(ends)]
        counted = sum(size for part, size in zip(flat, sizes, strict=True) if part.counted)
        characters = sum(len(part.text) for part in flat)
        counts[split] = TextCounts(rows.form, len(rows), len(flat), sum(sizes), counted, characters)
    unit = "words" if part_lengths is None else "tokens"
    keys = {split: _keys(rows.texts) for split, rows in dataset}
    return _audit(dataset, keys, {}, lengths, unit, max_length), counts


class AuditTokenizer(RowTokenizer, Protocol):
    """The part of a tokenizer that an audit needs."""

    @property
    def unknown_id(self) -> int | None:
        """Id of the token for unknown text, or None if there is none."""

    @property
    def special(self) -> np.ndarray:
        """Whether a token is special, bool (tokens,). The token for unknown text is special too."""

    def measure(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of tokens of each row without a limit, and how many of them the model does not read."""


def audit_tokens(
    dataset: Dataset[Rows[T]], tokenizer: AuditTokenizer, max_length: int, exact_rows: int | None = EXACT_ROWS
) -> Audit:
    """Audit a data set with the tokens that a training uses. They come from the cache on disk, or go there.

    Args:
        dataset: the rows.
        tokenizer: the tokenizer of the model.
        max_length: the longest input, in tokens.
        exact_rows: number of long rows of a split whose lengths are measured. Of more rows, this many are measured, and
            the others count with their mean. None measures all. Default: 2,000.
    """
    tables = {split: cached_tokens(rows, tokenizer, max_length) for split, rows in dataset}
    measured = {
        split: _measure(rows, tables[split], tokenizer, max_length, exact_rows or len(rows)) for split, rows in dataset
    }

    def lengths(rows: Rows[T]) -> Sequence[int]:
        # By identity: `==` of two splits would compare all their texts.
        numbers: list[int] = next(measured[split][0] for split, part in dataset if part is rows).tolist()
        return numbers

    result = audit(dataset, lengths, max_length)
    splits = {
        split: replace(
            part,
            unknown=_mostly_unknown(tables[split], tokenizer),
            lost=_share_lost(*measured[split]),
            windows=_windows(tables[split]),
        )
        for split, part in result.splits.items()
    }
    return replace(result, splits=splits)


def _measure(
    rows: Rows[T], table: TokenTable, tokenizer: AuditTokenizer, max_length: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the length of each row, and the tokens of it that the model does not read, (rows,)."""
    lengths = np.diff(table.document_offsets)
    lost = np.zeros(len(lengths))
    # A row of exactly `max_length` tokens may have been cut. The table does not say which.
    full = np.flatnonzero(lengths >= max_length)
    if not len(full):
        return lengths, lost
    # Every k-th of many rows, as rows can be sorted.
    chosen = full[:: -(-len(full) // most)]
    part = rows.take(chosen.tolist())
    found = tokenizer.measure(part.texts, part.pairs, max_length)
    lengths[full], lost[full] = max(max_length + 1, round(found[0].mean())), found[1].mean()
    lengths[chosen], lost[chosen] = found
    return lengths, lost


def _share_lost(lengths: np.ndarray, lost: np.ndarray) -> float:
    return float(lost.sum() / max(1, lengths.sum()))


def _windows(table: TokenTable) -> int:
    return 0 if table.windows is None else int(table.windows[table.windows > 1].sum())


def _mostly_unknown(table: TokenTable, tokenizer: AuditTokenizer) -> int:
    if tokenizer.unknown_id is None or not len(table):
        return 0
    # The unknown token is special too, so it is added back to the tokens that stand for text.
    unknown = np.asarray(table.ids) == tokenizer.unknown_id
    text = unknown | ~tokenizer.special[np.asarray(table.ids)]
    # Sums up to the start of each row. np.add.reduceat would give an empty row the value of the next row.
    sums = (np.concatenate([[0], np.cumsum(marks)])[table.document_offsets] for marks in (unknown, text))
    unknowns, texts = (np.diff(values) for values in sums)
    return int((unknowns * 2 > texts).sum())


def audit(
    dataset: Dataset[Rows[T]], tokenizer_lengths: Callable[[Rows[T]], Sequence[int]] | None, max_length: int
) -> Audit:
    """Audit a data set.

    Two texts are the same if they differ only in case and white space.

    Args:
        dataset: the rows.
        tokenizer_lengths: returns the length of each row in tokens, with special tokens. With None, words are counted.
        max_length: the longest input, in tokens.
    """
    lengths = {split: (tokenizer_lengths or _words)(rows) for split, rows in dataset}
    unit = "words" if tokenizer_lengths is None else "tokens"
    keys = {split: _keys(rows.texts, rows.pairs) for split, rows in dataset}
    # Rows without labels cannot contradict each other: without an entry here, the split has no conflicts.
    labels = {split: list(rows.targets) for split, rows in dataset if rows.targets is not None}
    return _audit(dataset, keys, labels, lengths, unit, max_length)


def _audit(
    dataset: Dataset[S],
    keys: Mapping[str, Sequence[int]],
    labels: Mapping[str, Sequence[Hashable]],
    lengths: Mapping[str, Sequence[int]],
    unit: str,
    max_length: int,
) -> Audit:
    counts = dataset.fingerprints()
    splits = {
        split: _audit_split(keys[split], labels.get(split), counts[split]["labels"], lengths[split], max_length)
        for split in dataset.splits
    }
    return Audit(dataset.name, unit, max_length, splits, _leakages(dataset, keys))


def _audit_split(
    keys: Sequence[int],
    labels: Sequence[Hashable] | None,
    counts: dict[str, int],
    lengths: Sequence[int],
    max_length: int,
) -> SplitAudit:
    label_sets: dict[int, set[Hashable]] = defaultdict(set)
    for key, label in zip(keys, labels or [None] * len(keys), strict=True):
        label_sets[key].add(label)
    # Over the rows and not over the texts: every copy of a text with two labels is a row to look at.
    conflicts = sum(len(label_sets[key]) > 1 for key in keys)
    sizes = np.asarray(lengths, np.int64)
    truncated = float(np.mean(sizes > max_length)) if keys else 0.0
    lost = _share_lost(sizes, np.maximum(sizes - max_length, 0))
    doubles = len(keys) - len(label_sets)
    return SplitAudit(len(keys), counts, _percentiles(lengths), truncated, doubles, conflicts, lost=lost)


def _percentiles(lengths: Sequence[int]) -> dict[str, int]:
    if not len(lengths):
        return dict.fromkeys((*(f"p{percent}" for percent in PERCENTILES), "max"), 0)
    # This method returns lengths that occur, not interpolated values between them.
    values = np.percentile(lengths, (*PERCENTILES, 100), method="inverted_cdf")
    return {name: int(value) for name, value in zip((*(f"p{p}" for p in PERCENTILES), "max"), values, strict=True)}


def text_leakage(dataset: Dataset[Documents]) -> dict[str, Leakage]:
    """Return by split the texts of a language model that are also training texts, without the rest of an audit."""
    return _leakages(dataset, {split: _keys(rows.texts) for split, rows in dataset})


def _leakages(dataset: Dataset[S], keys: Mapping[str, Sequence[int]]) -> dict[str, Leakage]:
    return {
        split: _leakage(dataset["train"], rows, keys, split)
        for split, rows in dataset
        if split != "train" and "train" in keys  # a single part can be audited without training rows
    }


def _leakage(train: Split, rows: Split, keys: Mapping[str, Sequence[int]], split: str) -> Leakage:
    first_in_train: dict[int, int] = {}
    for index, key in enumerate(keys["train"]):
        first_in_train.setdefault(key, index)
    shared = [(index, first_in_train[key]) for index, key in enumerate(keys[split]) if key in first_in_train]
    examples = [(rows.ids[here], train.ids[there], rows.texts[here]) for here, there in shared[:EXAMPLES]]
    return Leakage(len(shared), len(shared) / max(1, len(rows)), examples)


def _keys(texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[int]:
    seconds = pairs or itertools.repeat("")
    # The separator keeps ("a b", "c") and ("a", "b c") apart. The keys are valid in one process: Python salts `hash`.
    # hashes of 64 bits instead of the texts, which may not fit into memory
    return [hash(f"{_plain(text)}\x1f{_plain(second)}") for text, second in zip(texts, seconds, strict=False)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _word_counts(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def _words(rows: Rows) -> list[int]:
    seconds = rows.pairs or [""] * len(rows)
    return [len(text.split()) + len(second.split()) for text, second in zip(rows.texts, seconds, strict=True)]
