"""The goals: each is a figure of the medians with a limit."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, float]
Medians = Mapping[str, Figures]
"""Figures by side."""


@dataclass(frozen=True)
class Goal:
    """One goal.

    Attributes:
        title: what is compared.
        compute: takes the medians by side and returns the figure. A KeyError means that a side is missing.
        limit: the limit of the figure.
        at_most: whether the limit is the highest allowed value. Otherwise it is the lowest.
        unit: unit of the figure.
    """

    title: str
    compute: Callable[[Medians], float]
    limit: float
    at_most: bool = True
    unit: str = ""

    def verdict(self, medians: Medians) -> tuple[float | None, str]:
        """Return the figure, and ``met``, ``missed`` or ``not measured``."""
        try:
            value = self.compute(medians)
        except KeyError:
            return None, "not measured"
        return value, "met" if (value <= self.limit if self.at_most else value >= self.limit) else "missed"


def _ratio(side: str, other: str, figure: str) -> Callable[[Medians], float]:
    return lambda medians: medians[side][figure] / medians[other][figure]


def _figure(side: str, figure: str) -> Callable[[Medians], float]:
    return lambda medians: medians[side][figure]


def _accuracy(medians: Medians) -> float:
    # the mean of the seeds instead of the median, because the goal is defined so
    return 100 * (medians["train-kerora"]["mean_accuracy"] - medians["train-peft-best"]["mean_accuracy"])


def _predict(medians: Medians) -> float:
    pipelines = [figures["rows_per_second"] for side, figures in medians.items() if side.startswith("predict-pipeline")]
    if not pipelines:
        raise KeyError("predict-pipeline")
    return medians["predict-kerora"]["rows_per_second"] / max(pipelines)


def _growth(medians: Medians) -> float:
    sides = sorted((side for side in medians if side.startswith("rows-")), key=lambda side: int(side.split("@")[1]))
    if len(sides) < 2:
        raise KeyError("rows-kerora")
    return medians[sides[-1]]["peak_mb"] - medians[sides[0]]["peak_mb"]


GOALS = (
    Goal("train time / PEFT at its best", _ratio("train-kerora", "train-peft-best", "train_seconds"), 0.5, unit="x"),
    Goal(
        "train time / PEFT's defaults", _ratio("train-kerora", "train-peft-defaults", "train_seconds"), 0.17, unit="x"
    ),
    Goal(
        "train time / plain KerasHub, extrapolated",
        _ratio("train-kerora", "train-kerashub", "train_seconds"),
        0.05,
        unit="x",
    ),
    Goal("accuracy - PEFT's at its best, mean of the seeds", _accuracy, -0.5, False, "points"),
    Goal("train step's share of the matrix-product rate", _figure("step-kerora", "share"), 0.65, False),
    Goal("peak memory while training", _figure("train-kerora", "peak_mb"), 1_500, unit="MB"),
    Goal("predict rate / the better pipeline's", _predict, 3, False, "x"),
    Goal("one sentence from a cold start, time", _figure("cold-kerora", "wall_seconds"), 4, unit="s"),
    Goal("one sentence from a cold start, memory", _figure("cold-kerora", "peak_mb"), 800, unit="MB"),
    Goal("tokenising / Rust alone", _ratio("tokenize-kerora", "tokenize-rust", "first_seconds"), 1.3, unit="x"),
    Goal("tokenising again, from the cache", _figure("tokenize-kerora", "second_seconds"), 1, unit="s"),
    Goal("memory for many rows - for few", _growth, 150, unit="MB"),
)


def medians(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the median of each figure by side, and for the accuracy also the mean over the seeds."""
    collected: dict[str, dict[str, list[float]]] = {}
    for result in results:
        if "problem" in result:
            continue
        figures = collected.setdefault(result["side"], {})
        for name, value in result.items():
            if isinstance(value, int | float) and name not in ("repeat", "seed"):
                figures.setdefault(name, []).append(float(value))
    found = {
        side: {name: statistics.median(values) for name, values in figures.items()}
        for side, figures in collected.items()
    }
    for side, figures in collected.items():
        if "accuracy" in figures:
            found[side]["mean_accuracy"] = statistics.fmean(figures["accuracy"])
    return found
