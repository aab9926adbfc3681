"""The common form of all sources: rows with their targets, and data sets of several splits."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np

from kerora.data.bad_rows import by_reason
from kerora.data.text_store import TextStore
from kerora.data.trained_columns import TrainedColumns

Texts = list[str] | TextStore
"""A column of texts: in memory, or on disk as the readers of files make it."""
T = TypeVar("T")
SETS = "labels"
"""The form of saved rows with several labels each, as the description of a saved data set names it."""


class Column(Protocol[T]):
    """A column to which values can be added: a list, or a `TextStore` for texts."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...
    def __getitem__(self, index: int, /) -> T: ...
    def append(self, value: T, /) -> None:
        """Add a value."""

    def extend(self, values: Iterable[T], /) -> None:
        """Add values."""


class Split(Protocol):
    """One split of a data set of any task: texts with identifiers, and what the model learns about them.

    Attributes:
        noun: name of the rows in messages: ``rows`` or ``texts``.
    """

    noun: ClassVar[str]

    @property
    def texts(self) -> Texts:
        """The texts, for display."""

    @property
    def ids(self) -> Texts:
        """The identifier of each row."""

    def __len__(self) -> int: ...

    def take(self, indices: Sequence[int]) -> Self:
        """Return the rows at `indices`, in that order."""

    def extend(self, other: Self) -> None:
        """Add the rows of another split."""

    def fingerprint(self) -> str:
        """Return the sha256 of all values except the identifiers, in order."""

    def strata(self) -> np.ndarray | None:
        """Return the class of each row (rows,) for stratified sampling; None if rows have no class.

        Of rows with several classes: whether each row has each class, bool (rows, classes).
        """

    def label_counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return the number of rows of each class. Empty if the targets are not classes."""

    def tails(self, share: float) -> tuple[Self, Self] | None:
        """Cut the last `share` of each row and return both parts; None if rows cannot be divided."""

    def objects(self, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield each row as `kerora data save` writes it."""

    @classmethod
    def facts(cls, splits: Mapping[str, Self]) -> dict[str, Any]:
        """Return the entries that the description of a saved data set needs so that these rows can be read again."""


@dataclass
class Rows(Generic[T]):
    """One split of texts with one target each.

    Attributes:
        texts: the texts; for sentence pairs the first sentences.
        ids: identifier of each row as text: the value of the id column, or the number of the row from 1.
        targets: the value to predict for each row, all of one type. For a classifier these are class numbers
            (positions in `Dataset.classes`). None if rows are unlabelled.
        pairs: the second sentences, or None if rows are single texts.
    """

    noun: ClassVar[str] = "rows"

    texts: Texts
    ids: Texts
    targets: Column[T] | None = None
    pairs: Texts | None = None
    # Hashing reads all texts from disk, and the fingerprint is needed by the cache, the manifest and the audit.
    _digest: tuple[Any, str] | None = field(default=None, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def numbered(
        cls, texts: Sequence[str], targets: Column[T] | None = None, pairs: Sequence[str] | None = None
    ) -> "Rows[T]":
        """Return rows from lists. Their ids are the numbers of the rows from 1."""
        ids = [str(number) for number in range(1, len(texts) + 1)]
        return Rows(list(texts), ids, targets, None if pairs is None else list(pairs))

    def append(self, text: str, identifier: str, target: T | None = None, pair: str | None = None) -> None:
        """Add a row. The columns of targets and pairs are created when the first value is given."""
        self.texts.append(text)
        self.ids.append(identifier)
        if target is not None:
            # Created late, because unlabelled rows have None in place of an empty column.
            self.targets = [] if self.targets is None else self.targets
            self.targets.append(target)
        if pair is not None:
            self.pairs = TextStore() if self.pairs is None else self.pairs
            self.pairs.append(pair)

    def extend(self, other: Self) -> None:
        """Add the rows of another split. Targets and pairs are added if both splits have them."""
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
        """Return the class numbers (rows,), or the sets of class numbers as bool (rows, classes); else None."""
        # Only integers are class numbers. Other targets, such as scores, have no classes to sample from.
        if not self.targets:
            return None
        if isinstance(self.targets[0], int):
            return np.asarray(self.targets)
        if not are_sets(self.targets):
            return None
        highest = max((number for row in self.targets for number in row), default=-1)  # type: ignore[attr-defined]
        return indicators(self.targets, highest + 1) if highest >= 0 else None  # type: ignore[arg-type]

    def label_counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Return the number of rows of each class. A class without rows has a zero, which the audit looks for."""
        counts = class_counts(self.strata())
        return {name: counts.get(number, 0) for number, name in enumerate(classes)}

    def tails(self, share: float) -> None:
        """Return None, because rows cannot be divided."""

    def objects(self, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield each row with ``id``, ``text``, ``label`` (class name or list of them), and for pairs ``pair``."""
        for index, text in enumerate(self.texts):
            row: dict[str, Any] = {"id": self.ids[index], "text": text}
            if self.pairs is not None:
                row["pair"] = self.pairs[index]
            if self.targets is not None:
                target = self.targets[index]
                # The name and not the number: a saved file then does not depend on the order of the classes.
                row["label"] = classes[target] if isinstance(target, int) else target
                if isinstance(target, tuple) and are_sets([target]):
                    row["label"] = [classes[number] for number in target]
            yield row

    @classmethod
    def facts(cls, splits: Mapping[str, Self]) -> dict[str, Any]:
        """Return the form of rows with several labels. Other rows need no entries."""
        rows = next((rows.targets for rows in splits.values() if rows.targets), None)
        return {"form": SETS} if rows is not None and are_sets(rows) else {}

    def fingerprint(self) -> str:
        """Return the sha256 of texts, pairs and targets, in order. It is computed only once if no row can change."""
        state = self._state()
        if state is not None and self._digest is not None and self._digest[0] == state:
            return self._digest[1]
        found = self._hash()
        self._digest = (state, found) if state is not None else None
        return found

    def _state(self) -> Any:
        """Return a value that differs after rows are added, or None for texts in lists, which can change unnoticed."""
        if not isinstance(self.texts, TextStore) or isinstance(self.pairs, list):
            return None
        if isinstance(self.targets, TextStore):
            return len(self.texts), len(self.targets), self.pairs is None
        # A `TextStore` only grows, so its length is enough. A list of targets can change in place, so it is hashed.
        return len(self.texts), self.targets and hash(tuple(self.targets)), self.pairs is None

    def _hash(self) -> str:
        digest = hashlib.sha256()
        # The repeated empty texts have no end, so the zip below cannot be strict.
        nothing = itertools.repeat("")
        seconds = nothing if self.pairs is None else self.pairs
        targets = nothing if self.targets is None else map(str, self.targets)
        for parts in zip(self.texts, seconds, targets, strict=False):
            # Control characters separate values and rows, so that ("a", "bc") and ("ab", "c") differ.
            digest.update("\x1f".join(parts).encode("utf-8", "surrogatepass") + b"\x1e")
        return digest.hexdigest()


S = TypeVar("S", bound=Split)


@dataclass
class Dataset(Generic[S]):
    """A data set, split, with the names of its classes.

    Attributes:
        name: short name for run folders, such as ``imdb_reviews`` or a file's stem.
        classes: class names in the order of their numbers, or the names of several targets; empty without such names.
        splits: rows by split name: ``train``, and ``validation`` and ``test`` if they exist.
        skipped: rows dropped by `skip_bad_rows`, by split.
        reasons: number of dropped rows by what is wrong with them, by split.
        values: the label of each class in the source, before `class_names` renamed it. Default: the class names.
        columns: the columns of the training rows; None if they come from no table.
        unlabelled: the rows of a test part without labels, which a training predicts at its end; else None.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, S]
    skipped: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    columns: TrainedColumns | None = field(default=None, compare=False)
    unlabelled: S | None = None

    def __post_init__(self) -> None:
        self.values = self.values or self.classes

    def __getitem__(self, split: str) -> S:
        return self.splits[split]

    def __iter__(self) -> Iterator[tuple[str, S]]:
        return iter(self.splits.items())

    def dropped(self) -> str:
        """Return the dropped rows in words for the line of the data, or ``""``: ``; 3 bad rows skipped (...)``."""
        total, reasons = sum(self.skipped.values()), by_reason(sum(self.reasons.values(), Counter()))
        return f"; {total:,} bad rows skipped{f' ({reasons})' if reasons else ''}" if total else ""

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """Return ``{split: {sha256, rows, labels: {class: count}}}`` for the manifest."""
        return {split: self._fingerprint(rows) for split, rows in self}

    def _fingerprint(self, rows: S) -> dict[str, Any]:
        return {"sha256": rows.fingerprint(), "rows": len(rows), "labels": rows.label_counts(self.classes)}


def are_sets(targets: Iterable[Any]) -> bool:
    """Tell whether targets are sets of class numbers: tuples of integers, of which some may be empty."""
    first = None
    for target in targets:
        if not isinstance(target, tuple):
            return False
        first = target
        if target:
            break
    return first is not None and all(isinstance(number, int) for number in first)


def indicators(targets: Iterable[Sequence[int]], classes: int) -> np.ndarray:
    """Return whether each row has each class, bool (rows, classes), from the class numbers of each row."""
    rows = list(targets)
    found = np.zeros((len(rows), classes), dtype=bool)
    lengths = [len(numbers) for numbers in rows]
    found[np.repeat(np.arange(len(rows)), lengths), [number for numbers in rows for number in numbers]] = True
    return found


def class_counts(strata: np.ndarray | None) -> Counter[int]:
    """Return the number of rows of each class that has rows, from what `Split.strata` returns."""
    if strata is None:
        return Counter()
    if strata.ndim == 1:
        return Counter(strata.tolist())
    return Counter({number: count for number, count in enumerate(strata.sum(axis=0).tolist()) if count})


def take(column: Any, indices: Sequence[int]) -> Any:
    """Return the values of a column at `indices`, in that order. The result for a `TextStore` is a `TextStore`."""
    if isinstance(column, TextStore):
        return column.take(indices)
    return [column[index] for index in indices]
