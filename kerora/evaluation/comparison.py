"""Several runs side by side: which rows they share, and whether they differ on them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from kerora.errors import RunError
from kerora.evaluation.results import RunResults, SplitResults
from kerora.evaluation.significance import McNemar, mcnemar
from kerora.evaluation.wording import lookup

SIGNIFICANCE = 0.05
NOT_SETTINGS = ("run", "runs_dir")
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Pair:
    """Two runs compared row by row.

    Attributes:
        first: name of one run.
        second: name of the other.
        shared: rows that both evaluated.
        different: rows with the same split and id whose text or label differs; they are left out.
        test: McNemar's test over the shared rows; None where there are none.
    """

    first: str
    second: str
    shared: int
    different: int
    test: McNemar | None

    @property
    def verdict(self) -> str:
        """What the test says, in words."""
        if self.test is None:
            return "No shared rows: nothing to test."
        if self.winner is None:
            return "No significant difference."
        return f"{self.winner} is significantly better."

    @property
    def winner(self) -> str | None:
        """Name of the run that is significantly better, at the 5 % level; None where neither is."""
        if self.test is None or self.test.p_value >= SIGNIFICANCE:
            return None
        return self.first if self.test.b > self.test.c else self.second


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes:
        names: a distinct name a run.
        runs: the runs, in the order given.
        splits: the rows compared, one a run.
        pairs: every pair of runs.
    """

    names: tuple[str, ...]
    runs: tuple[RunResults, ...]
    splits: tuple[SplitResults, ...]
    pairs: tuple[Pair, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return names, splits and pairs as plain values."""
        pairs = [{**asdict(pair), "verdict": pair.verdict} for pair in self.pairs]
        return {"names": list(self.names), "splits": [split.name for split in self.splits], "pairs": pairs}

    def different_settings(self) -> dict[str, list[Any]]:
        """Return the settings in which the runs differ, with a value a run (None where it has none)."""
        return _different_settings(self.runs)


@dataclass(frozen=True)
class LanguageComparison:
    """Several runs of language models side by side.

    Attributes:
        names: a distinct name a run.
        runs: the runs, in the order given.
        splits: the splits to show: those that all of them measured, else each that one did.
    """

    names: tuple[str, ...]
    runs: tuple[RunResults, ...]
    splits: tuple[str, ...]

    def notes(self) -> list[str]:
        """Return what keeps the numbers from being compared."""
        said = []
        if _differ(lookup(run.manifest, "preset", "fingerprint") for run in self.runs):
            said.append(
                "The runs have other base models: where these have other tokenizers, loss and perplexity are those of "
                "other tokens, and bits per byte alone can be compared."
            )
        for split in self.splits:
            held = [run for run in self.runs if split in run.after]
            if _differ(lookup(run.manifest, "data", "splits", split, "sha256") for run in held):
                said.append(f"{split}: the runs were measured on other texts.")
        if any(split not in run.after for run in self.runs for split in self.splits):
            said.append("The runs have no measured split in common.")
        return said

    def rows(self) -> Iterator[tuple[int, str, RunResults, str]]:
        """Yield (number from 1, name, run, split) for all that was measured, split by split."""
        for split in self.splits:
            for number, (name, run) in enumerate(zip(self.names, self.runs, strict=True), start=1):
                if split in run.after:
                    yield number, name, run, split

    def as_dict(self) -> dict[str, Any]:
        """Return names, metrics after training by split, and notes as plain values."""
        metrics = {split: [run.after.get(split) for run in self.runs] for split in self.splits}
        return {"names": list(self.names), "metrics": metrics, "notes": self.notes()}

    def different_settings(self) -> dict[str, list[Any]]:
        """Return the settings in which the runs differ, with a value a run (None where it has none)."""
        return _different_settings(self.runs)


def compare(runs: Sequence[RunResults], split: str | None = None) -> Comparison:
    """Compare runs on a split.

    Args:
        runs: two runs or more.
        split: the split; None takes the first of test, validation, ... that all of them hold, and
            where there is none, each run's own.

    Raises:
        RunError: a run was given twice, or does not hold the split.
    """
    names = _distinct_names(runs)
    if split is None:
        split = next((name for name in runs[0].splits if all(name in run.splits for run in runs)), None)
    splits = tuple(run.split(split) for run in runs)
    pairs = tuple(
        _pair(names[first], names[second], splits[first], splits[second])
        for first, second in combinations(range(len(runs)), 2)
    )
    return Comparison(names, tuple(runs), splits, pairs)


def compare_language_models(runs: Sequence[RunResults], split: str | None = None) -> LanguageComparison:
    """Compare runs of language models.

    Args:
        runs: two runs or more.
        split: the split; None takes all that all of them hold.

    Raises:
        RunError: a run was given twice, does not hold the split, or is one of a classifier.
    """
    names = _distinct_names(runs)
    for run in runs:
        if not run.is_language_model:
            raise RunError(f"{run.folder.path} is a classifier, others are language models. Compare runs of one task.")
        if split is not None and split not in run.after:
            raise RunError(f"{run.folder.metrics} holds no split '{split}'. It holds: {', '.join(run.after)}.")
    held = list(dict.fromkeys(name for run in runs for name in run.after))
    shared = [name for name in held if all(name in run.after for run in runs)]
    return LanguageComparison(names, tuple(runs), (split,) if split else tuple(shared or held))


def flatten_settings(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested settings."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _distinct_names(runs: Sequence[RunResults]) -> tuple[str, ...]:
    paths = Counter(run.folder.path.resolve() for run in runs)
    repeated = next((path for path, times in paths.items() if times > 1), None)
    if repeated is not None:
        raise RunError(f"The run {repeated} is given more than once. Give different runs to compare.")
    unique = len({run.name for run in runs}) == len(runs)
    return tuple(run.name if unique else str(run.folder.path) for run in runs)


def _different_settings(runs: Sequence[RunResults]) -> dict[str, list[Any]]:
    flat = [dict(flatten_settings(run.settings)) for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings if key not in NOT_SETTINGS)
    rows = {key: [settings.get(key) for settings in flat] for key in keys}
    return {key: values for key, values in rows.items() if _differ(values)}


def _differ(values: Iterable[Any]) -> bool:
    first, *others = values
    return any(value != first for value in others)


def _pair(first: str, second: str, a: SplitResults, b: SplitResults) -> Pair:
    places = _places(b)
    found = [(place, places[key]) for key, place in _places(a).items() if key in places]
    same = [(i, j) for i, j in found if a.texts[i] == b.texts[j] and a.classes[a.labels[i]] == b.classes[b.labels[j]]]
    test = None
    if same:
        rows_a, rows_b = np.array(same).T
        test = mcnemar(a.correct[rows_a], b.correct[rows_b])
    return Pair(first, second, len(same), len(found) - len(same), test)


def _places(split: SplitResults) -> dict[Key, int]:
    """Return where each row is; an id that occurs again counts as another row."""
    seen: Counter[str] = Counter()
    places = {}
    for place, identifier in enumerate(split.ids):
        places[split.name, identifier, seen[identifier]] = place
        seen[identifier] += 1
    return places
