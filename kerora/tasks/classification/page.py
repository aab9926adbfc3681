"""The report of classifiers as HTML, and the other files of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from kerora.evaluation import plots, quality_plots
from kerora.evaluation.comparison import costs
from kerora.evaluation.html import (
    curve_figures,
    link,
    mapping,
    readable,
    render_page,
    render_run,
    render_summary,
    run_figures,
    run_row,
    split_key,
)
from kerora.evaluation.metrics import classification_report_text, row_percent
from kerora.evaluation.report_files import csv_text
from kerora.tasks.classification.probabilities import SHOWN_CHARACTERS
from kerora.tasks.classification.results import (
    PREDICTION_COLUMNS,
    ClassificationResults,
    Comparison,
    Confusion,
    SplitResults,
    most_confused,
    notes,
)

PACKAGE = "kerora.tasks.classification"
# limits that keep the page small: classes of a matrix, mistakes, and characters of a mistake
LARGEST_MATRIX = 60
MOST_MISTAKES = 300
LONGEST_TEXT = 600
LARGEST_MATRIX_IN_NOTEBOOK = 20
CURVES, CURVES_TITLE = ("loss", "accuracy"), "Loss and accuracy by epoch"
SECTIONS = (
    ("confusion", "Confusion matrix"),
    ("classes", "Each class"),
    ("curves-of-classes", "ROC"),
    ("calibration", "Calibration"),
    ("coverage", "Coverage"),
    ("lengths", "Lengths"),
    ("mistakes", "Mistakes"),
)


@dataclass(frozen=True)
class SplitView:
    """A split, prepared for the page."""

    split: SplitResults
    first: bool
    before: Mapping[str, Any]
    percent: np.ndarray
    confusions: list[Confusion]
    mistakes: list[dict[str, Any]]
    reliability: Markup
    coverage: Markup
    figures: list[Markup]
    lengths: Markup


def render(results: ClassificationResults, split: SplitResults, version: str) -> str:
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
        views=[_view(results, view, view is split) for view in (split, *others)],
        largest_matrix=LARGEST_MATRIX,
        split_key=split_key,
    )


def summary(results: ClassificationResults, split: SplitResults) -> str:
    """Return the part of a page for notebooks."""
    return render_summary(
        results,
        PACKAGE,
        "summary_of_classes.html",
        notes=notes(results, split),
        curves=curve_figures(results, CURVES),
        curves_title=CURVES_TITLE,
        split=split,
        percent=row_percent(split.matrix),
        largest_matrix=LARGEST_MATRIX_IN_NOTEBOOK,
    )


def render_comparison(comparison: Comparison, reports: Sequence[Path], page: Path, version: str) -> str:
    """Return the page that shows several runs side by side.

    Args:
        comparison: the runs.
        reports: the report.html of each run, for links.
        page: the path that the page will have. Links are relative to it.
        version: Kerora's version, for the footer.
    """
    # The scale is rounded outwards to multiples of 0.05, so its labels are round. It is never empty, even if all
    # intervals are one point.
    ends = [end for split in comparison.splits for pair in split.intervals.values() for end in pair]
    scale = (np.floor(min(ends) * 20) / 20, max(np.ceil(max(ends) * 20) / 20, np.floor(min(ends) * 20) / 20 + 0.05))
    pairs = zip(comparison.names, comparison.runs, comparison.splits, reports, strict=True)
    said = [f"{name}: {note}" for name, run, split, _ in pairs for note in notes(run, split)]
    return render_page(
        "comparison.html",
        version,
        PACKAGE,
        comparison=comparison,
        scale=scale,
        notes=[*comparison.notes(), *said],
        curves=run_figures([run.history for run in comparison.runs], ("loss", "accuracy", "macro_f1")),
        best=_best_rows(comparison),
        costs=costs(comparison.names, comparison.runs),
        rows=[
            _run_row(name, run, split, link(report, page), scale)
            for name, run, split, report in zip(
                comparison.names, comparison.runs, comparison.splits, reports, strict=True
            )
        ],
        per_class=_class_f1(comparison),
        settings=comparison.different_settings(),
    )


def files(results: ClassificationResults, split: SplitResults) -> dict[str, str | bytes]:
    """Return the confusion matrix, the mistakes, scikit-learn's report, and the pictures of the page."""
    title = f"Confusion matrix, {split.name} ({len(split):,} rows)"
    text = classification_report_text(split.labels, split.predicted, split.classes)
    contents: dict[str, str | bytes] = {
        "confusion_matrix.png": plots.png(plots.confusion(split.matrix, split.classes, title)),
        "confusion_matrix.csv": _matrix_csv(split, split.matrix.tolist()),
        "confusion_matrix_percent.csv": _matrix_csv(split, row_percent(split.matrix).round(2).tolist()),
        "classification_report.txt": f"{results.name}: {split.name}, {len(split):,} rows\n\n{text}",
        "errors.csv": _errors_csv(split),
        "coverage.png": plots.png(quality_plots.coverage(split.coverage)),
    }
    if results.history:
        contents["curves.png"] = plots.png(plots.curves(results.history, results.best_epoch))
    return contents


def _view(results: ClassificationResults, split: SplitResults, first: bool) -> SplitView:
    before = results.before.get(split.name, {}).get("per_class")
    description = f"Reliability diagram of {split_key(split)}: accuracy by confidence"
    return SplitView(
        split,
        first,
        {name: values for name, values in mapping(before).items() if isinstance(values, Mapping)},
        row_percent(split.matrix),
        # with two classes, the matrix already shows both kinds of mistakes
        most_confused(split) if len(split.classes) > 2 else [],
        [_mistake(split, place) for place in split.mistakes()[:MOST_MISTAKES]],
        Markup(plots.inline_svg(plots.reliability(split.calibration, split.uncalibrated), description)),
        _coverage_figure(split),
        _probability_figures(split),
        _length_figure(split),
    )


def _probability_figures(split: SplitResults) -> list[Markup]:
    key = split_key(split)
    drawn = (
        (quality_plots.roc, f"ROC curves of {key}: true positive rate by false positive rate"),
        (quality_plots.precision_recall, f"Precision-recall curves of {key}"),
    )
    return [Markup(plots.inline_svg(draw(split.labels, split.probabilities), text)) for draw, text in drawn]


def _coverage_figure(split: SplitResults) -> Markup:
    drawn = quality_plots.coverage(split.coverage)
    return Markup(plots.inline_svg(drawn, f"Accuracy of the answered rows of {split_key(split)} by their share"))


def _length_figure(split: SplitResults) -> Markup:
    lengths = np.array([len(text) for text in split.texts])
    figure = quality_plots.errors_by_length(lengths, split.correct, SHOWN_CHARACTERS)
    return Markup(plots.inline_svg(figure, f"Errors of {split_key(split)} by the length of the text"))


def _mistake(split: SplitResults, place: int) -> dict[str, Any]:
    # shortened after this, because a <br /> becomes one character
    text = readable(split.texts[place])
    true = int(split.labels[place])
    return {
        "id": split.ids[place],
        "text": text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…",
        "true": true,
        "predicted": int(split.predicted[place]),
        "score": float(split.scores[place]),
        "true_score": float(split.probabilities[place, true]),
    }


def _run_row(
    name: str, run: ClassificationResults, split: SplitResults, link: str, scale: tuple[float, float]
) -> dict[str, Any]:
    def place(value: float) -> float:
        # per cent of the scale; an estimate can lie outside its bootstrap interval, and so outside the scale
        return round(float(np.clip(100 * (value - scale[0]) / (scale[1] - scale[0]), 0, 100)), 2)

    places = {
        key: {"low": place(low), "width": round(place(high) - place(low), 2), "value": place(split.metrics[key])}
        for key, (low, high) in split.intervals.items()
    }
    return {**run_row(name, run, split, link), "places": places}


def _best_rows(comparison: Comparison) -> list[bool]:
    """Return for each run whether its macro F1 is the highest. No run is marked if the splits differ."""
    scores = [split.metrics["macro_f1"] for split in comparison.splits]
    # the best of scores on different rows would not be the best run
    comparable = len({split.name for split in comparison.splits}) == 1
    return [comparable and score == max(scores) for score in scores]


def _class_f1(comparison: Comparison) -> list[tuple[str, list[float]]]:
    """Return F1 by class and run. Empty if the runs have different classes."""
    classes = comparison.splits[0].classes
    # as sets, because the order of the classes may differ between runs
    if any(set(split.classes) != set(classes) for split in comparison.splits):
        return []
    return [(name, [split.metrics["per_class"][name]["f1"] for split in comparison.splits]) for name in classes]


def _matrix_csv(split: SplitResults, rows: Sequence[Sequence[float]]) -> str:
    lines = ([name, *row] for name, row in zip(split.classes, rows, strict=True))
    return csv_text([["true \\ predicted", *split.classes], *lines])


def _errors_csv(split: SplitResults) -> str:
    rows = (
        [
            split.ids[place],
            split.name,
            split.texts[place],
            split.classes[split.labels[place]],
            split.classes[split.predicted[place]],
            f"{split.scores[place]:.6f}",
        ]
        for place in split.mistakes()
    )
    return csv_text([PREDICTION_COLUMNS, *rows])
