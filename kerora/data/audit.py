"""What one should know of a data set before training: balance, lengths, duplicates, leakage."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from kerora.data.documents import Documents
from kerora.data.rows import Dataset, Rows

PERCENTILES = (50, 90, 95, 99)
EXAMPLES = 3


@dataclass(frozen=True)
class SplitAudit:
    """One split.

    Attributes:
        rows: number of rows.
        labels: rows by class name.
        lengths: the 50th, 90th, 95th and 99th percentile and the maximum (``p50`` ... ``p99``, ``max``).
        truncated: share of the rows longer than the maximum length, from 0 to 1.
        duplicates: rows whose text occurs earlier in the split.
        conflicts: rows whose text occurs in the split with more than one label.
    """

    rows: int
    labels: dict[str, int]
    lengths: dict[str, int]
    truncated: float
    duplicates: int
    conflicts: int


@dataclass(frozen=True)
class Leakage:
    """Rows of a split whose text is also a training text.

    Attributes:
        count: such rows.
        share: their share of the split, from 0 to 1.
        examples: the first of them as (id in the split, id in train, text).
    """

    count: int
    share: float
    examples: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Audit:
    """A data set.

    Attributes:
        name: the data set's name.
        unit: what lengths count: ``tokens`` or ``words``.
        max_length: the length, in that unit, beyond which rows count as truncated.
        splits: the audit of each split.
        leakage: by split (validation, test), the texts shared with train.
    """

    name: str
    unit: str
    max_length: int
    splits: dict[str, SplitAudit]
    leakage: dict[str, Leakage]


@dataclass(frozen=True)
class TextCounts:
    """The texts of one split of a language model's data.

    Attributes:
        form: ``text``, ``completion`` (of prompts) or ``turns`` (of conversations).
        texts: number of texts.
        parts: number of their parts: turns, of prompts with completions two each.
        size: all tokens, or words.
        counted: those of them that the loss counts.
        characters: number of characters.
    """

    form: str
    texts: int
    parts: int
    size: int
    counted: int
    characters: int


def audit_texts(
    dataset: Dataset, part_lengths: Callable[[Sequence[str]], Sequence[int]] | None, max_length: int
) -> tuple[Audit, dict[str, TextCounts]]:
    """Audit the texts of a language model.

    Args:
        dataset: its splits hold `Documents`.
        part_lengths: returns the tokens of each piece of text, without special ones; None counts words. With tokens
            the end-of-text tokens are counted too.
        max_length: the longest row in tokens.

    Returns:
        The audit, and the counts of each split.
    """
    lengths: dict[int, list[int]] = {}
    counts = {}
    for split, rows in dataset:
        assert isinstance(rows, Documents)
        flat = [part for parts in rows.parts for part in parts]
        measured = (part_lengths or _word_counts)([part.text for part in flat])
        sizes = [size + (part.ends and part_lengths is not None) for part, size in zip(flat, measured, strict=True)]
        ends = np.cumsum([0, *(len(parts) for parts in rows.parts)])
        lengths[id(rows)] = [sum(sizes[start:end]) for start, end in pairwise(ends)]
        counted = sum(size for part, size in zip(flat, sizes, strict=True) if part.counted)
        characters = sum(len(part.text) for part in flat)
        counts[split] = TextCounts(rows.form, len(rows), len(flat), sum(sizes), counted, characters)
    result = audit(dataset, lambda rows: lengths[id(rows)], max_length)
    unit = "words" if part_lengths is None else "tokens"
    return replace(result, unit=unit), counts


def audit(dataset: Dataset, tokenizer_lengths: Callable[[Rows], Sequence[int]] | None, max_length: int) -> Audit:
    """Audit a data set.

    Texts are the same when they are equal after case-folding and with white space normalised.

    Args:
        dataset: the rows.
        tokenizer_lengths: returns each row's length in tokens, with special tokens; None counts words.
        max_length: the longest input in tokens.
    """
    lengths = tokenizer_lengths or _words
    unit = "words" if tokenizer_lengths is None else "tokens"
    keys = {split: _keys(rows) for split, rows in dataset}
    labels = dataset.fingerprints()
    splits = {
        split: _audit_split(rows, keys[split], labels[split]["labels"], lengths(rows), max_length)
        for split, rows in dataset
    }
    leakage = {
        split: _leakage(dataset, keys, split) for split in dataset.splits if split != "train" and "train" in keys
    }
    return Audit(dataset.name, unit, max_length, splits, leakage)


def _audit_split(
    rows: Rows, keys: Sequence[str], labels: dict[str, int], lengths: Sequence[int], max_length: int
) -> SplitAudit:
    label_sets: dict[str, set[int]] = defaultdict(set)
    for key, label in zip(keys, rows.labels or [0] * len(rows), strict=True):
        label_sets[key].add(label)
    conflicts = sum(len(label_sets[key]) > 1 for key in keys)
    truncated = float(np.mean(np.asarray(lengths) > max_length)) if len(rows) else 0.0
    return SplitAudit(len(rows), labels, _percentiles(lengths), truncated, len(keys) - len(label_sets), conflicts)


def _percentiles(lengths: Sequence[int]) -> dict[str, int]:
    if not len(lengths):
        return dict.fromkeys((*(f"p{percent}" for percent in PERCENTILES), "max"), 0)
    values = np.percentile(lengths, (*PERCENTILES, 100), method="inverted_cdf")
    return {name: int(value) for name, value in zip((*(f"p{p}" for p in PERCENTILES), "max"), values, strict=True)}


def _leakage(dataset: Dataset, keys: dict[str, list[str]], split: str) -> Leakage:
    train, rows = dataset.splits["train"], dataset.splits[split]
    first_in_train: dict[str, int] = {}
    for index, key in enumerate(keys["train"]):
        first_in_train.setdefault(key, index)
    shared = [(index, first_in_train[key]) for index, key in enumerate(keys[split]) if key in first_in_train]
    examples = [(rows.ids[here], train.ids[there], rows.texts[here]) for here, there in shared[:EXAMPLES]]
    return Leakage(len(shared), len(shared) / max(1, len(rows)), examples)


def _keys(rows: Rows) -> list[str]:
    seconds = rows.pairs or [""] * len(rows)
    return [f"{_plain(text)}\x1f{_plain(second)}" for text, second in zip(rows.texts, seconds, strict=True)]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _word_counts(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def _words(rows: Rows) -> list[int]:
    seconds = rows.pairs or [""] * len(rows)
    return [len(text.split()) + len(second.split()) for text, second in zip(rows.texts, seconds, strict=True)]
