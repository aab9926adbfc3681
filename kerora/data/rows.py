"""Rows of labelled text, the form that every source is brought to."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Rows:
    """One split.

    Attributes:
        texts: the texts; for sentence pairs the first sentences.
        pairs: the second sentences, or None where rows are single texts.
        labels: class numbers (positions in `Dataset.classes`), or None where rows are unlabelled.
        ids: an identifier a row, as text: the id column's value or the row's number from 1.
    """

    texts: list[str]
    ids: list[str]
    labels: list[int] | None = None
    pairs: list[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> "Rows":
        """Return the rows at `indices`, in that order."""

        def pick(column: list[Any] | None) -> list[Any] | None:
            return None if column is None else [column[index] for index in indices]

        return Rows(
            [self.texts[index] for index in indices],
            [self.ids[index] for index in indices],
            pick(self.labels),
            pick(self.pairs),
        )

    def fingerprint(self) -> str:
        """Return the sha256 of texts, pairs and labels, in order."""
        digest = hashlib.sha256()
        for index, text in enumerate(self.texts):
            second = "" if self.pairs is None else self.pairs[index]
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
