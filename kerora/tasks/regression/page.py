"""The report of regressors as HTML, and the other files of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kerora.evaluation import plots, regression_plots
from kerora.evaluation.comparison import costs
from kerora.evaluation.html import (
    curve_figures,
    link,
    readable,
    render_page,
    render_run,
    render_summary,
    run_figures,
    run_row,
    split_key,
)
from kerora.evaluation.regression import NUMBER_METRICS
from kerora.evaluation.report_files import csv_text
from kerora.tasks.regression.predict import number_columns
from kerora.tasks.regression.results import Comparison, RegressionResults, SplitResults, notes

PACKAGE = "kerora.tasks.regression"
# limits that keep the page small: rows of the list of errors, characters of a text, targets with figures
MOST_ERRORS, LONGEST_TEXT, MOST_DRAWN = 200, 600, 8
CURVES, CURVES_TITLE = ("loss", "mae"), "Loss and mean absolute error by epoch"
SECTIONS = (("figures", "Predicted and true"), ("errors", "Largest errors"))
FIGURES = (
    (regression_plots.predicted_against_true, "Predicted against true numbers"),
    (regression_plots.residuals, "Residuals by predicted number"),
    (regression_plots.residual_histogram, "Distribution of the residuals"),
)


@dataclass(frozen=True)
class SplitView:
    """A split, prepared for the page.

    Attributes:
        split: the rows.
        key: its name as a part of an id in HTML.
        first: whether it is the split that is reported.
        figures: the figures of each target.
        errors: the rows with the largest errors.
    """

    split: SplitResults
    key: str
    first: bool
    figures: list[tuple[str, list[Markup]]]
    errors: list[dict[str, Any]]


def render(results: RegressionResults, split: SplitResults, version: str) -> str:
    """Return the page of one run. The other splits of the run follow the chosen one, collapsed."""
    # is not, because equality would compare arrays
    others = [other for other in results.splits.values() if other is not split]
    return render_run(
        results,
        version,
        PACKAGE,
        sections=SECTIONS,
        notes=notes(results, split),
        curves=curve_figures(results, CURVES),
        curves_title=CURVES_TITLE,
        fresh_head=True,
        keys=NUMBER_METRICS,
        views=[_view(view, view is split) for view in (split, *others)],
    )


def summary(results: RegressionResults, split: SplitResults) -> str:
    """Return the part of a page for notebooks."""
    return render_summary(
        results,
        PACKAGE,
        "summary_of_numbers.html",
        notes=notes(results, split),
        curves=curve_figures(results, CURVES),
        curves_title=CURVES_TITLE,
        split=split,
        figures=[figure for _, figures in _figures(split, split_key(split))[:1] for figure in figures[:2]],
    )


def render_comparison(comparison: Comparison, reports: Sequence[Path], page: Path, version: str) -> str:
    """Return the page that shows several runs side by side; see `PageFace.render_comparison`."""
    pairs = list(zip(comparison.names, comparison.runs, comparison.splits, strict=True))
    said = [f"{name}: {note}" for name, run, split in pairs for note in notes(run, split)]
    return render_page(
        "comparison.html",
        version,
        PACKAGE,
        comparison=comparison,
        keys=NUMBER_METRICS,
        notes=[*comparison.notes(), *said],
        curves=run_figures([run.history for run in comparison.runs], ("loss", "rmse", "pearson")),
        best=_best_rows(comparison),
        costs=costs(comparison.names, comparison.runs),
        rows=[
            run_row(name, run, split, link(report, page))
            for (name, run, split), report in zip(pairs, reports, strict=True)
        ],
        settings=comparison.different_settings(),
    )


def files(results: RegressionResults, split: SplitResults) -> dict[str, str | bytes]:
    """Return the figures, the rows by the size of their errors, and the curves."""
    contents: dict[str, str | bytes] = {"errors.csv": _errors_csv(split)}
    true, predicted = split.labels[:, 0], split.predicted[:, 0]
    contents["predicted.png"] = plots.png(regression_plots.predicted_against_true(true, predicted))
    contents["residuals.png"] = plots.png(regression_plots.residuals(true, predicted))
    if results.history:
        contents["curves.png"] = plots.png(plots.curves(results.history, results.best_epoch, CURVES))
    return contents


def _view(split: SplitResults, first: bool) -> SplitView:
    key = split_key(split)
    errors = [_error(split, place) for place in split.largest()[:MOST_ERRORS]]
    return SplitView(split, key, first, _figures(split, key), errors)


def _figures(split: SplitResults, key: str) -> list[tuple[str, list[Markup]]]:
    columns = zip(split.targets, split.labels.T, split.predicted.T, strict=True)
    return [
        (
            name,
            [
                # the number and not the name of a target, because the page inserts figures unescaped
                Markup(plots.inline_svg(draw(true, predicted), f"{text} of {key}, target {number}"))
                for draw, text in FIGURES
            ],
        )
        for number, (name, true, predicted) in enumerate(columns, 1)
        if number <= MOST_DRAWN
    ]


def _error(split: SplitResults, place: int) -> dict[str, Any]:
    text = readable(split.texts[place])
    return {
        "id": split.ids[place],
        "text": text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…",
        "numbers": list(zip(split.targets, split.labels[place], split.predicted[place], strict=True)),
    }


def _best_rows(comparison: Comparison) -> list[bool]:
    """Return for each run whether its RMSE is the lowest. No run is marked if the splits differ."""
    scores = [split.metrics["rmse"] for split in comparison.splits]
    # the best of scores on different rows would not be the best run
    comparable = len({split.name for split in comparison.splits}) == 1
    return [comparable and score == min(scores) for score in scores]


def _errors_csv(split: SplitResults) -> str:
    names = split.targets
    columns = [column for stem in ("label", "predicted", "error") for column in number_columns(stem, names)]
    rows = (
        [
            *(split.ids[place], split.name, split.texts[place]),
            *(float(value) for value in split.labels[place]),
            *(float(value) for value in split.predicted[place]),
            *(float(value) for value in split.predicted[place] - split.labels[place]),
        ]
        for place in split.largest()
    )
    return csv_text([["id", "split", "text", *columns], *rows])
