"""The form that every source is brought to: rows with what is to be learnt of them, and data sets of several splits."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np

from kerora.data.text_store import TextStore

Texts = list[str] | TextStore
"""A column of texts: in memory, or as those who read files make it, on disk."""
T = TypeVar("T")


class Column(Protocol[T]):
    """A column of values that can be added to: a list, or of texts a `TextStore`."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...
    def __getitem__(self, index: int, /) -> T: ...
    def append(self, value: T, /) -> None:
        """Add a value."""

    def extend(self, values: Iterable[T], /) -> None:
        """Add values."""


class Split(Protocol):
    """One split of a data set, whatever the task: texts with identifiers, and what is to be learnt of them.

    Attributes:
        noun: what messages call the rows: ``rows`` or ``texts``.
    """

    noun: ClassVar[str]

    @property
    def texts(self) -> Texts:
        """The texts, as a person would read them."""

    @property
    def ids(self) -> Texts:
        """An identifier a row."""

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int]) -> Self:
        """Return the rows at `indices`, in that order."""

    def extend(self, other: Self) -> None:
        """Add the rows of another split."""

    def fingerprint(self) -> str:
        """Return the sha256 of everything but the identifiers, in order."""

    def strata(self) -> np.ndarray | None:
        """Return the class of each row (rows,), by which parts are drawn; None where rows have no class."""

    def tails(self, share: float) -> tuple[Self, Self] | None:
        """Divide every row where its last `share` begins; None where rows are not divided."""

    def objects(self, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield each row as `kerora data save` writes it."""

    @classmethod
    def facts(cls, splits: Mapping[str, Self]) -> dict[str, Any]:
        """Return what a saved data set's description has to say to read these rows back."""


@dataclass
class Rows(Generic[T]):
    """One split of texts with a target each.

    Attributes:
        texts: the texts; for sentence pairs the first sentences.
        ids: an identifier a row, as text: the id column's value or the row's number from 1.
        targets: what is to be predicted of each row, one kind of value throughout: for a classifier class numbers
            (positions in `Dataset.classes`); None where rows are unlabelled.
        pairs: the second sentences, or None where rows are single texts.
    """

    noun: ClassVar[str] = "rows"

    texts: Texts
    ids: Texts
    targets: Column[T] | None = None
    pairs: Texts | None = None
    _digest: tuple[Any, str] | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    def append(self, text: str, identifier: str, target: T | None = None, pair: str | None = None) -> None:
        """Add a row; the columns of targets and pairs begin with the first that is given."""
        self.texts.append(text)
        self.ids.append(identifier)
        if target is not None:
            self.targets = [] if self.targets is None else self.targets
            self.targets.append(target)
        if pair is not None:
            self.pairs = TextStore() if self.pairs is None else self.pairs
            self.pairs.append(pair)

    def extend(self, other: Self) -> None:
        """Add the rows of another split; targets and pairs where both have them."""
        self.texts.extend(other.texts)
        self.ids.extend(other.ids)
        if self.targets is not None and other.targets is not None:
            self.targets.extend(other.targets)
        if self.pairs is not None and other.pairs is not None:
            self.pairs.extend(other.pairs)

    def take(self, indices: Sequence[int]) -> "Rows[T]":
        """Return the rows at `indices`, in that order."""
        return Rows(
            take(self.texts, indices),
            take(self.ids, indices),
            None if self.targets is None else take(self.targets, indices),
            None if self.pairs is None else take(self.pairs, indices),
        )

    def strata(self) -> np.ndarray | None:
        """Return the class numbers (rows,); None where targets are something else."""
        if not self.targets or not isinstance(self.targets[0], int):
            return None
        return np.asarray(self.targets)

    def tails(self, share: float) -> None:
        """Return None: rows are not divided."""

    def objects(self, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield each row with ``id``, ``text``, for sentence pairs ``pair``, and ``label``, a class by its name."""
        for index, text in enumerate(self.texts):
            row: dict[str, Any] = {"id": self.ids[index], "text": text}
            if self.pairs is not None:
                row["pair"] = self.pairs[index]
            if self.targets is not None:
                target = self.targets[index]
                row["label"] = classes[target] if isinstance(target, int) else target
            yield row

    @classmethod
    def facts(cls, splits: Mapping[str, Self]) -> dict[str, Any]:
        """Return nothing: a row says all of itself."""
        return {}

    def fingerprint(self) -> str:
        """Return the sha256 of texts, pairs and targets, in order; computed once where texts cannot change."""
        state = self._state()
        if state is not None and self._digest is not None and self._digest[0] == state:
            return self._digest[1]
        found = self._hash()
        self._digest = (state, found) if state is not None else None
        return found

    def _state(self) -> Any:
        """Return what tells of texts that are only added to whether they are the same; None for texts in lists."""
        if not isinstance(self.texts, TextStore) or isinstance(self.pairs, list):
            return None
        if isinstance(self.targets, TextStore):
            return len(self.texts), len(self.targets), self.pairs is None
        return len(self.texts), self.targets and hash(tuple(self.targets)), self.pairs is None

    def _hash(self) -> str:
        digest = hashlib.sha256()
        nothing = itertools.repeat("")
        seconds = nothing if self.pairs is None else self.pairs
        targets = nothing if self.targets is None else map(str, self.targets)
        for parts in zip(self.texts, seconds, targets, strict=False):
            digest.update("\x1f".join(parts).encode("utf-8", "surrogatepass") + b"\x1e")
        return digest.hexdigest()


S = TypeVar("S", bound=Split)


@dataclass
class Dataset(Generic[S]):
    """A data set, split, with the names of its classes.

    Attributes:
        name: short name for run folders, such as ``imdb_reviews`` or a file's stem.
        classes: class names in the order of their numbers; none where targets are no classes.
        splits: rows by split name: ``train``, and where there are any ``validation`` and ``test``.
        skipped: rows dropped by `skip_bad_rows`, by split.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, S]
    skipped: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, split: str) -> S:
        return self.splits[split]

    def __iter__(self) -> Iterator[tuple[str, S]]:
        return iter(self.splits.items())

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Return ``{split: {sha256, rows, labels: {class: count}}}`` for the manifest."""
        return {split: self._fingerprint(rows) for split, rows in self}

    def _fingerprint(self, rows: S) -> dict[str, Any]:
        strata = rows.strata()
        counts = Counter(() if strata is None else strata.tolist())
        labels = {name: counts.get(number, 0) for number, name in enumerate(self.classes)}
        return {"sha256": rows.fingerprint(), "rows": len(rows), "labels": labels}


def take(column: Any, indices: Sequence[int]) -> Any:
    """Return the values of a column at `indices`, in that order; a `TextStore` stays one."""
    if isinstance(column, TextStore):
        return column.take(indices)
    return [column[index] for index in indices]
