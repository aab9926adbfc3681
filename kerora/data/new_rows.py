"""New labelled rows from the training rows: words removed, exchanged, or divided by punctuation."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kerora.data.row_reader import RowReader
from kerora.data.rows import Dataset, Rows
from kerora.data.sources import read_parts
from kerora.errors import DataError
from kerora.settings.fit import SPLITS, DataConfig

METHODS = ("aeda", "swap", "cutoff")
MARKS = (".", ";", "?", ":", "!", ",")
SHARE = 0.1
ATTEMPTS = 20
"""Tries for each wanted row. A try fails if its text exists already."""


@dataclass
class Made:
    """New rows, and what was left out.

    Attributes:
        rows: the rows as ``id``, texts, label, ``origin`` (id of the row) and ``method``.
        counts: number of new rows by class.
        repeated: tries whose text was that of a training row or of an earlier new row.
        leaked: tries whose text was that of a validation or test row.
        short: number of training rows with fewer than two words, which are not changed.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    leaked: int = 0
    short: int = 0


def check_parts(config: DataConfig, reader: RowReader[Any, Any]) -> None:
    """Check that a later training cannot put an original row into the validation part, beside its changed copy.

    Raises:
        DataError: a validation part would be cut from the training rows.
    """
    if config.validation_split == 0 or "validation" in read_parts(config, reader, without=SPLITS):
        return
    raise DataError(
        f"{config.train or config.source} has no validation part. `kerora fit` would cut one from all rows, and "
        "copies of its rows would stay in training. Divide the data first with `kerora data save`, and give the files "
        "with --train and --validation. Or add --validation-split 0 here and there."
    )


def make_rows(
    dataset: Dataset[Rows[int]], budget: int, methods: tuple[str, ...], seed: int, share: float = SHARE
) -> Made:
    """Make new rows from the training part alone.

    Args:
        dataset: the rows, one class each.
        budget: number of new rows for each class.
        methods: the methods, which take turns: `aeda` inserts punctuation, `swap` lets words change places, and
            `cutoff` removes a stretch of words.
        seed: seed of all choices.
        share: fraction of the words that change. Default: 0.1.

    Raises:
        DataError: the rows have not one class each, or no text has two words separated by spaces.
    """
    rows, made = dataset["train"], Made()
    strata = rows.strata()
    if strata is None or strata.ndim != 1:
        raise DataError(f"{dataset.name}: new rows have a budget by class, so each row needs one class.")
    train = {_key(text, pair) for text, pair in _texts(rows)}
    others = {_key(*texts) for split, part in dataset if split != "train" for texts in _texts(part)}
    labels, words = np.asarray(rows.targets), [text.split() for text in rows.texts]
    long = np.array([len(part) > 1 for part in words])
    made.short = int((~long).sum())
    if not long.any():
        raise DataError(
            f"{dataset.name}: no training text has two words separated by spaces, so no new rows can be made. For "
            "languages without spaces, kerora fit --augment cutoff changes tokens."
        )
    for number, name in enumerate(dataset.values):
        places = np.flatnonzero((labels == number) & long)
        generator = np.random.default_rng((seed, number))
        for attempt in itertools.islice(_turns(places, generator), budget * ATTEMPTS):
            if made.counts[name] >= budget:
                break
            place, turn = attempt
            method = methods[turn % len(methods)]
            text = " ".join(changed(words[place], method, share, generator))
            pair = None if rows.pairs is None else rows.pairs[place]
            key = _key(text, pair)
            if key in train or key in others:
                made.repeated += key in train
                made.leaked += key in others and key not in train
                continue
            train.add(key)
            made.counts[name] += 1
            made.rows.append(_row(dataset, rows, place, text, name, method, made.counts[name]))
    return made


def changed(words: list[str], method: str, share: float, generator: np.random.Generator) -> list[str]:
    """Return the words of a text after a change. There are two words or more."""
    count = max(1, round(share * len(words)))
    if method == "swap":
        words = list(words)
        for _ in range(max(1, count // 2)):
            one, other = generator.choice(len(words), 2, replace=False)
            words[one], words[other] = words[other], words[one]
        return words
    if method == "cutoff":
        count = min(count, len(words) - 1)
        start = int(generator.integers(len(words) - count + 1))
        return words[:start] + words[start + count :]
    places = set(generator.choice(np.arange(1, len(words)), min(count, len(words) - 1), replace=False).tolist())
    marks = generator.choice(MARKS, len(words))
    return [
        part for place, word in enumerate(words) for part in ([str(marks[place]), word] if place in places else [word])
    ]


def _turns(places: np.ndarray, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Yield the rows of a class again and again, each time in a new order, with the number of the turn."""
    turn = 0
    while len(places):
        for place in generator.permutation(places).tolist():
            yield place, turn
            turn += 1


def _row(
    dataset: Dataset[Rows[int]], rows: Rows[int], place: int, text: str, label: str, method: str, number: int
) -> dict[str, Any]:
    columns = dataset.columns
    wanted = 1 if rows.pairs is None else 2
    # Joined columns cannot be divided again, so their text gets a name of its own.
    held = columns is not None and len(columns.texts) == wanted
    names = columns.texts if columns is not None and held else ("text", "pair")[:wanted]
    texts = [text] if rows.pairs is None else [text, rows.pairs[place]]
    name = columns.labels[0] if columns is not None and len(columns.labels) == 1 else "label"
    identifier = f"{rows.ids[place]}-{method}-{number}"
    found = {"id": identifier, **dict(zip(names, texts, strict=True)), name: label}
    return {**found, "origin": rows.ids[place], "method": method}


def _texts(rows: Rows[int]) -> Iterator[tuple[str, str | None]]:
    pairs = itertools.repeat(None) if rows.pairs is None else rows.pairs
    yield from zip(rows.texts, pairs, strict=False)


def _key(text: str, pair: str | None) -> str:
    # Texts that differ only in case and spaces count as the same.
    return "\0".join(" ".join(part.casefold().split()) for part in (text, pair or ""))
