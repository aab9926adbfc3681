"""The error of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.errors import RunError
from kerora.evaluation.comparison import distinct_names
from kerora.evaluation.results import RunResults
from kerora.runfolder import RunFolder


@dataclass(frozen=True)
class Comparison:
    names: tuple[str, ...]
    errors: list[Mapping[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        return {"names": list(self.names), "errors": self.errors}


def needed(run: RunFolder) -> Sequence[Path]:
    return (run.metrics,)


def read(common: Mapping[str, Any]) -> RunResults:
    return RunResults(**common)


def split(results: RunResults, name: str | None) -> str:
    found = name or next(iter(results.after))
    if found not in results.after:
        raise RunError(f"{results.folder.metrics} holds no split '{found}'. It holds: {', '.join(results.after)}.")
    return found


def summary(results: RunResults, split: str) -> dict[str, Any]:
    return {"split": split, "metrics": results.after[split]}


def compare(runs: Sequence[RunResults], split: str | None = None) -> Comparison:
    return Comparison(distinct_names(runs), [run.after for run in runs])
