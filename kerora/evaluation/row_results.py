"""The results of runs whose rows are evaluated one by one: the splits of a run, and the comparison of several runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from kerora.errors import RunError
from kerora.evaluation.comparison import costs, different_settings, distinct_names, rate_notes, row_places
from kerora.evaluation.results import SPLIT_ORDER, RunResults
from kerora.evaluation.verdict import RunBaseline, run_baselines

T = TypeVar("T")


class EvaluatedRows(Protocol):
    """The evaluated rows of one split."""

    @property
    def name(self) -> str:
        """The split, such as ``test``."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Identifiers of the rows."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Texts of the rows."""


R = TypeVar("R", bound=EvaluatedRows)


@dataclass(frozen=True)
class RowResults(RunResults, Generic[R]):
    """The results of one run with its evaluated rows.

    Attributes:
        splits: evaluated rows by split. The first one is reported by default.
    """

    splits: Mapping[str, R] = field(default_factory=dict)

    @property
    def evaluated(self) -> list[str]:
        """The splits. The first one is reported by default."""
        return [*self.splits, *(name for name in self.after if name not in self.splits)]

    def split(self, name: str | None = None) -> R:
        """Return the rows of a split. Default: test, else validation, else the first.

        Raises:
            RunError: the run has no predictions for that split.
        """
        if name is None:
            return next(iter(self.splits.values()))
        if name not in self.splits:
            known = ", ".join(self.splits)
            raise RunError(f"{self.folder.predictions} holds no rows of split '{name}'. It holds: {known}.")
        return self.splits[name]


def in_report_order(path: Path, groups: Mapping[str, T]) -> dict[str, T]:
    """Return the rows of a file of predictions by split, in the order test, validation, others.

    Raises:
        RunError: there are no rows.
    """
    if not groups:
        raise RunError(f"{path} holds no rows. Evaluate the run on labelled rows with `kerora evaluate`.")
    # a stable sort: other splits stay in the order of the file
    order = sorted(groups, key=lambda split: SPLIT_ORDER.index(split) if split in SPLIT_ORDER else len(SPLIT_ORDER))
    return {split: groups[split] for split in order}


@dataclass(frozen=True)
class RunPair:
    """Two runs compared row by row. A task adds its test.

    Attributes:
        first: name of one run.
        second: name of the other.
        shared: rows that both evaluated.
        different: rows with the same split and id whose content differs. They are left out.
    """

    first: str
    second: str
    shared: int
    different: int

    @property
    def winner(self) -> str | None:
        """Name of the run that is significantly better at the 5 % level. None if neither is."""
        raise NotImplementedError

    @property
    def untested(self) -> str | None:
        """Why there is no test, in words. None if there is one."""
        raise NotImplementedError

    @property
    def verdict(self) -> str:
        """The result of the test, in words."""
        if self.untested is not None:
            return self.untested
        return "No significant difference." if self.winner is None else f"{self.winner} is significantly better."


NO_ROWS = "The runs have no rows in common, so there is no test."
P = TypeVar("P", bound=RunPair)


@dataclass(frozen=True)
class RowComparison(Generic[R, P]):
    """Several runs side by side.

    Attributes:
        names: one name per run. All names differ.
        runs: the runs, in the order given.
        splits: the compared rows, one split per run.
        pairs: every pair of runs.
    """

    names: tuple[str, ...]
    runs: tuple[RowResults[R], ...]
    splits: tuple[R, ...]
    pairs: tuple[P, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return names, splits, pairs, costs, what the task adds, and notes as plain values."""
        return {
            "names": list(self.names),
            "splits": [split.name for split in self.splits],
            "pairs": [{**asdict(pair), "verdict": pair.verdict} for pair in self.pairs],
            "costs": [asdict(cost) for cost in costs(self.names, self.runs)],
            **self.details(),
            "notes": self.notes(),
        }

    def details(self) -> dict[str, Any]:
        """Return what a task adds to the plain values."""
        return {"baselines": [asdict(row) for row in self.baselines()]}

    def notes(self) -> list[str]:
        """Return what a reader should know before the comparison."""
        said = rate_notes(self.names, self.runs)
        if len({split.name for split in self.splits}) > 1:
            said.insert(0, "The runs have no evaluated split in common, so the rows do not all show the same split.")
        return said

    def baselines(self) -> list[RunBaseline]:
        """Return the runs beside their baselines."""
        return run_baselines(self.names, self.runs, {split.name for split in self.splits})

    def different_settings(self) -> dict[str, list[Any]]:
        """Return the settings that differ between the runs, with one value per run. None stands for no value."""
        return different_settings(self.runs)


C = TypeVar("C", bound=RowComparison[Any, Any])


def compare_runs(
    kind: type[C], runs: Sequence[RowResults[R]], split: str | None, pair: Callable[[str, str, R, R], RunPair]
) -> C:
    """Compare runs on a split.

    Args:
        kind: the comparison of the task.
        runs: two runs or more.
        split: the split. None takes the first of test, validation, ... that all runs hold. If there is none, it takes
            the default split of each run.
        pair: compares the rows of two runs, from both names and both splits.

    Raises:
        RunError: a run is given twice, or does not hold the split.
    """
    names = distinct_names(runs)
    if split is None:
        # the splits of a run are in the order of the report, so test comes first
        split = next((name for name in runs[0].splits if all(name in run.splits for run in runs)), None)
    splits = tuple(run.split(split) for run in runs)
    pairs = tuple(
        pair(names[first], names[second], splits[first], splits[second])
        for first, second in combinations(range(len(runs)), 2)
    )
    return kind(names, tuple(runs), splits, pairs)


def rows_in_both(a: R, b: R) -> list[tuple[int, int]]:
    """Return the places of the rows that two runs evaluated, by split and id.

    Equal ids do not prove equal rows, for example if ids are row numbers.
    """
    places = row_places(b.name, b.ids)
    return [(place, places[key]) for key, place in row_places(a.name, a.ids).items() if key in places]
