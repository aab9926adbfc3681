"""Rows of labelled text, the form that every source is brought to."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kerora.data.text_store import TextStore

Texts = list[str] | TextStore
"""A column of texts: in memory, or as those who read files make it, on disk."""


@dataclass
class Rows:
    """One split.

    Attributes:
        texts: the texts; for sentence pairs the first sentences.
        pairs: the second sentences, or None where rows are single texts.
        labels: class numbers (positions in `Dataset.classes`), or None where rows are unlabelled.
        ids: an identifier a row, as text: the id column's value or the row's number from 1.
    """

    texts: Texts
    ids: Texts
    labels: list[int] | None = None
    pairs: Texts | None = None
    _digest: tuple[Any, str] | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> "Rows":
        """Return the rows at `indices`, in that order."""
        return Rows(
            _take(self.texts, indices),
            _take(self.ids, indices),
            None if self.labels is None else _take(self.labels, indices),
            None if self.pairs is None else _take(self.pairs, indices),
        )

    def fingerprint(self) -> str:
        """Return the sha256 of texts, pairs and labels, in order; computed once where texts cannot change."""
        state = None
        if isinstance(self.texts, TextStore) and not isinstance(self.pairs, list):
            # texts that are only added to: their number and the labels tell whether they are the same
            state = (len(self.texts), self.labels and hash(tuple(self.labels)), self.pairs is None)
            if self._digest is not None and self._digest[0] == state:
                return self._digest[1]
        found = self._hash()
        self._digest = (state, found) if state is not None else None
        return found

    def _hash(self) -> str:
        digest = hashlib.sha256()
        seconds = itertools.repeat("") if self.pairs is None else self.pairs
        for index, (text, second) in enumerate(zip(self.texts, seconds, strict=False)):
            label = "" if self.labels is None else str(self.labels[index])
            digest.update("\x1f".join((text, second, label)).encode("utf-8", "surrogatepass") + b"\x1e")
        return digest.hexdigest()


@dataclass
class Dataset:
    """A data set, split, with the names of its classes.

    Attributes:
        name: short name for run folders, such as ``imdb_reviews`` or a file's stem.
        classes: class names in the order of their numbers.
        splits: rows by split name: ``train``, and where there are any ``validation`` and ``test``.
        skipped: rows dropped by `skip_bad_rows`, by split.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Rows]
    skipped: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, split: str) -> Rows:
        return self.splits[split]

    def __iter__(self) -> Iterator[tuple[str, Rows]]:
        return iter(self.splits.items())

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Return ``{split: {sha256, rows, labels: {class: count}}}`` for the manifest."""
        return {split: self._fingerprint(rows) for split, rows in self}

    def _fingerprint(self, rows: Rows) -> dict[str, Any]:
        counts = Counter(rows.labels or ())
        labels = {name: counts.get(number, 0) for number, name in enumerate(self.classes)}
        return {"sha256": rows.fingerprint(), "rows": len(rows), "labels": labels}


def _take(column: Any, indices: Sequence[int]) -> Any:
    if isinstance(column, TextStore):
        return column.take(indices)
    return [column[index] for index in indices]
