"""The figures of the report of a study, in the style of the other reports."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from kerora.evaluation.plots import GRID, INK, MUTED, TRAIN, VALIDATION, new_figure, short_name, style
from kerora.tuning.records import Record
from kerora.tuning.space import Parameter

LEAST_FOR_IMPORTANCE = 4


def history(records: Sequence[Record], metric: str, maximize: bool) -> Figure:
    """Plot the score of each trial and the best score so far. Pruned trials are hollow."""
    scored = [record for record in records if record.score is not None and record.ended]
    complete = [record for record in scored if record.state == "complete"]
    pruned = [record for record in scored if record.state == "pruned"]
    with style():
        figure = new_figure(5.0, 3.3)
        axis = figure.subplots()
        if complete:
            best = (np.maximum if maximize else np.minimum).accumulate([_score(record) for record in complete])
            numbers = [record.number for record in complete]
            # post: a score holds from its trial on
            axis.step(numbers, best, where="post", color=VALIDATION, linestyle="--", label="best so far", zorder=1)
        _dots(axis, [record.number for record in complete], complete, TRAIN, "trial")
        _dots(axis, [record.number for record in pruned], pruned, "none", "pruned")
        for record in complete:
            if record.is_default:
                axis.plot(record.number, _score(record), "D", color=VALIDATION, markersize=7, label="defaults")
        axis.set(xlabel="trial", ylabel=metric)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.margins(x=0.04, y=0.12)
        handles, names = axis.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=4)
    return figure


def _score(record: Record) -> float:
    return math.nan if record.score is None else record.score


def _dots(axis: Axes, places: Sequence[float], records: Sequence[Record], colour: str, label: str) -> None:
    if records:
        scores = [_score(record) for record in records]
        axis.scatter(places, scores, s=34, facecolors=colour, edgecolors=TRAIN, linewidths=1.2, label=label, zorder=2)


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the fraction of the variation of the score that each setting explains, largest first.

    The method is PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255). The result is empty if there are too few trials.
    """
    # pruned trials have no final score, and equal scores have no variation to explain
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < LEAST_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study)
        except (ValueError, RuntimeError):  # a setting that had only one value
            return {}
    shares = {path: share for path, share in found.items() if math.isfinite(share)}
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def importance_bars(shares: Mapping[str, float]) -> Figure:
    """Plot the importances as bars."""
    # bars are drawn from the bottom, so the largest comes last
    names, values = list(shares)[::-1], list(shares.values())[::-1]
    with style():
        figure = new_figure(5.0, 0.9 + 0.34 * len(names))
        axis = figure.subplots()
        axis.barh(range(len(names)), values, color=TRAIN, height=0.62)
        axis.set_yticks(range(len(names)), names, color=INK)
        for place, value in enumerate(values):
            axis.text(value, place, f"  {100 * value:.0f} %", va="center", color=MUTED)
        axis.grid(False, axis="y")
        axis.set(xlabel="share of the variation explained", xlim=(0, max([*values, 0.01]) * 1.15))
    return figure


def slices(records: Sequence[Record], parameters: Sequence[Parameter], metric: str) -> list[Figure]:
    """Plot the score against each setting, one figure per setting. The other settings vary."""
    figures = []
    with style():
        for parameter in parameters:
            figure = new_figure(4.2, 3.0)
            axis = figure.subplots()
            _slice(axis, records, parameter)
            axis.set_ylabel(metric)
            figures.append(figure)
    return figures


def _slice(axis: Axes, records: Sequence[Record], parameter: Parameter) -> None:
    shown = [record for record in records if record.score is not None and parameter.path in record.settings]
    labels = _categories(parameter, shown)
    for state, colour in (("complete", TRAIN), ("pruned", "none")):
        part = [record for record in shown if record.state == state]
        places = [_place(record.settings[parameter.path], labels) for record in part]
        _dots(axis, places, part, colour, state)
    for record in shown:
        if record.is_default and record.state == "complete":
            axis.plot(_place(record.settings[parameter.path], labels), _score(record), "D", color=VALIDATION)
    axis.set_xlabel(parameter.path, color=INK)
    if labels is not None:
        turn: dict[str, Any] = {} if sum(map(len, labels)) < 30 else {"rotation": 20, "ha": "right"}
        axis.set_xticks(range(len(labels)), [short_name(label) for label in labels], **turn)
        axis.set_xlim(-0.5, len(labels) - 0.5)
    elif parameter.range is not None and parameter.range.log:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8))
        # plain numbers, because the default labels of a log axis need mathematical text
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(y=0.12)


def _categories(parameter: Parameter, records: Sequence[Record]) -> list[str] | None:
    """Return the labels of a categorical setting. They include default values that are not in the space."""
    if parameter.range is not None:
        return None
    values = [*parameter.choices, *(record.settings[parameter.path] for record in records)]
    return list(dict.fromkeys(str(value) for value in values))


def _place(value: Any, labels: Sequence[str] | None) -> float:
    return float(value) if labels is None else float(labels.index(str(value)))


def parallel(records: Sequence[Record], parameters: Sequence[Parameter], metric: str, best: Record) -> Figure:
    """Plot each complete trial as a line through its settings to its score. The best trial is highlighted."""
    complete = [record for record in records if record.state == "complete"]
    scores = np.array([_score(record) for record in complete])
    low, high = float(scores.min()), float(scores.max())
    names = [*(parameter.path for parameter in parameters), metric]
    with style():
        figure = new_figure(max(8.4, 1.15 * len(names)), 4.2)
        axis = figure.subplots()
        for place, parameter in enumerate(parameters):
            _scale(axis, place, parameter, complete)
        _ends(axis, len(parameters), f"{low:.4g}", f"{high:.4g}")
        for record in sorted(complete, key=_score):
            heights = [_height(record, parameter, complete) for parameter in parameters]
            heights.append(0.5 if high == low else (_score(record) - low) / (high - low))
            own = record.number == best.number
            colour, width, alpha = (VALIDATION, 2.6, 1.0) if own else (TRAIN, 1.1, 0.45)
            axis.plot(range(len(names)), heights, color=colour, linewidth=width, alpha=alpha, zorder=2 + own)
        axis.set_xticks(range(len(names)), names, rotation=20, ha="right", color=INK)
        axis.set_yticks([])
        axis.set(xlim=(-0.3, len(names) - 0.55), ylim=(-0.1, 1.12))
        axis.spines[:].set_visible(False)
        axis.grid(False)
    return figure


def _scale(axis: Axes, place: int, parameter: Parameter, records: Sequence[Record]) -> None:
    labels = _categories(parameter, [record for record in records if parameter.path in record.settings])
    if labels is None:
        _ends(axis, place, *(f"{value:.3g}" for value in _bounds(parameter, records)))
        return
    axis.axvline(place, color=GRID, zorder=0)
    for number, label in enumerate(labels):
        height = 0.5 if len(labels) == 1 else number / (len(labels) - 1)
        axis.text(place + 0.03, height, short_name(label), color=MUTED, fontsize=8, va="center")


def _ends(axis: Axes, place: int, low: str, high: str) -> None:
    axis.axvline(place, color=GRID, zorder=0)
    axis.text(place, -0.04, low, color=MUTED, fontsize=8, ha="center", va="top")
    axis.text(place, 1.04, high, color=MUTED, fontsize=8, ha="center", va="bottom")


def _bounds(parameter: Parameter, records: Sequence[Record]) -> tuple[float, float]:
    """Return the ends of an axis: the range, extended to default values outside of it."""
    assert parameter.range is not None
    found = [float(record.settings[parameter.path]) for record in records if parameter.path in record.settings]
    return min([parameter.range.low, *found]), max([parameter.range.high, *found])


def _height(record: Record, parameter: Parameter, records: Sequence[Record]) -> float:
    """Return the height from 0 to 1 at which the line of a trial crosses the axis of a setting, or NaN without one."""
    if parameter.path not in record.settings:
        return math.nan
    value = record.settings[parameter.path]
    labels = _categories(parameter, [other for other in records if parameter.path in other.settings])
    if labels is not None:
        return 0.5 if len(labels) == 1 else labels.index(str(value)) / (len(labels) - 1)
    low, high = _bounds(parameter, records)
    if parameter.range is not None and parameter.range.log and low > 0:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (float(value) - low) / (high - low)
