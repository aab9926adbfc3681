"""The report of models with several labels per text as HTML, and the other files of the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from sklearn.metrics import classification_report

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
from kerora.evaluation.report_files import csv_text
from kerora.tasks.classification.probabilities import SHOWN_CHARACTERS
from kerora.tasks.multi_label.predictions import PREDICTION_COLUMNS, LabelPair, LabelSplit, most_of
from kerora.tasks.multi_label.results import COMPARED, Comparison, LabelResults, notes

PACKAGE = "kerora.tasks.multi_label"
# limits that keep the page small
MOST_MISTAKES = 300
LONGEST_TEXT = 600
MOST_IN_NOTEBOOK = 20
LARGEST_MATRIX = 60
CURVES, CURVES_TITLE = ("loss", "macro_f1"), "Loss and macro F1 by epoch"
SECTIONS = (
    ("labels", "Each label"),
    ("confusion", "Confused labels"),
    ("curves-of-labels", "Precision and recall"),
    ("lengths", "Lengths"),
    ("mistakes", "Mistakes"),
)
COUNTS = ("true positive", "false positive", "false negative", "true negative")


@dataclass(frozen=True)
class SplitView:
    """A split, prepared for the page."""

    split: LabelSplit
    first: bool
    before: Mapping[str, Any]
    confused: list[LabelPair]
    missed: list[LabelPair]
    mistakes: list[dict[str, Any]]
    figure: Markup
    lengths: Markup


def render(results: LabelResults, split: LabelSplit, version: str) -> str:
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
        split_key=split_key,
    )


def summary(results: LabelResults, split: LabelSplit) -> str:
    """Return the part of a page for notebooks."""
    return render_summary(
        results,
        PACKAGE,
        "summary_of_labels.html",
        notes=notes(results, split),
        curves=curve_figures(results, CURVES),
        curves_title=CURVES_TITLE,
        split=split,
        most=MOST_IN_NOTEBOOK,
    )


def render_comparison(comparison: Comparison, reports: Sequence[Path], page: Path, version: str) -> str:
    """Return the page that shows several runs side by side.

    Args:
        comparison: the runs.
        reports: the report.html of each run, for links.
        page: the path that the page will have. Links are relative to it.
        version: Kerora's version, for the footer.
    """
    found = list(zip(comparison.names, comparison.runs, comparison.splits, reports, strict=True))
    said = [f"{name}: {note}" for name, run, split, _ in found for note in notes(run, split)]
    return render_page(
        "comparison.html",
        version,
        PACKAGE,
        comparison=comparison,
        compared=COMPARED,
        notes=[*comparison.notes(), *said],
        curves=run_figures([run.history for run in comparison.runs], ("loss", "macro_f1", "micro_f1")),
        costs=costs(comparison.names, comparison.runs),
        rows=[run_row(name, run, split, link(report, page)) for name, run, split, report in found],
        per_class=_label_f1(comparison),
        settings=comparison.different_settings(),
    )


def files(results: LabelResults, split: LabelSplit) -> dict[str, str | bytes]:
    """Return the labels and the confused labels as tables, the mistakes, scikit-learn's report, and the curves."""
    contents: dict[str, str | bytes] = {
        "labels.csv": _labels_csv(split),
        "confused_labels.csv": _matrix_csv(split, "missed \\ given wrongly", split.confused),
        "missed_together.csv": _matrix_csv(split, "missed \\ missed too", split.missed_together),
        "classification_report.txt": f"{results.name}: {split.name}, {len(split):,} rows\n\n{_text(split)}",
        "errors.csv": _errors_csv(split),
    }
    if len(split.classes) <= LARGEST_MATRIX:
        title = f"Labels missed (rows) while another was given wrongly (columns), {split.name}"
        contents["confused_labels.png"] = plots.png(plots.confusion(split.confused, split.classes, title))
    if results.history:
        contents["curves.png"] = plots.png(plots.curves(results.history, results.best_epoch, list(CURVES)))
    return contents


def _view(results: LabelResults, split: LabelSplit, first: bool) -> SplitView:
    before = results.before.get(split.name, {}).get("per_class")
    key, totals = split_key(split), split.labels.sum(axis=0)
    curves = quality_plots.precision_recall(split.labels, split.probabilities)
    lengths = np.array([len(text) for text in split.texts])
    bars = quality_plots.errors_by_length(lengths, split.correct, SHOWN_CHARACTERS)
    return SplitView(
        split,
        first,
        {name: values for name, values in mapping(before).items() if isinstance(values, Mapping)},
        most_of(split.confused, totals),
        most_of(split.missed_together, totals),
        [_mistake(split, place) for place in split.mistakes()[:MOST_MISTAKES]],
        Markup(plots.inline_svg(curves, f"Precision-recall curves of {key}")),
        Markup(plots.inline_svg(bars, f"Rows of {key} with a wrong answer by the length of the text")),
    )


def _mistake(split: LabelSplit, place: int) -> dict[str, Any]:
    # shortened after this, because a <br /> becomes one character
    text = readable(split.texts[place])
    truth, answers, scores = split.labels[place], split.predicted[place], split.probabilities[place]

    def named(chosen: np.ndarray) -> list[tuple[str, float]]:
        return [(split.classes[number], float(scores[number])) for number in np.flatnonzero(chosen)]

    return {
        "id": split.ids[place],
        "text": text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…",
        "right": named(truth & answers),
        "missed": named(truth & ~answers),
        "wrong": named(answers & ~truth),
    }


def _label_f1(comparison: Comparison) -> list[tuple[str, list[float]]]:
    """Return F1 by label and run. Empty if the runs have different labels."""
    classes = comparison.splits[0].classes
    # as sets, because the order of the labels may differ between runs
    if any(set(split.classes) != set(classes) for split in comparison.splits):
        return []
    return [(name, [split.metrics["per_class"][name]["f1"] for split in comparison.splits]) for name in classes]


def _labels_csv(split: LabelSplit) -> str:
    columns = ("precision", "recall", "f1", "average_precision", "support", "threshold")
    rows = [
        [name, *("" if (value := values[column]) is None else value for column in columns), *counts.tolist()]
        for (name, values), counts in zip(split.metrics["per_class"].items(), split.counts, strict=True)
    ]
    return csv_text([["label", *columns, *COUNTS], *rows])


def _matrix_csv(split: LabelSplit, corner: str, matrix: np.ndarray) -> str:
    lines = ([name, *row] for name, row in zip(split.classes, matrix.tolist(), strict=True))
    return csv_text([[corner, *split.classes], *lines])


def _text(split: LabelSplit) -> str:
    # a line break in a name would break the table
    names = [" ".join(name.split()) for name in split.classes]
    report = classification_report(
        split.labels.astype(int), split.predicted.astype(int), target_names=names, digits=4, zero_division=0
    )
    return str(report)


def _errors_csv(split: LabelSplit) -> str:
    def listed(row: np.ndarray) -> str:
        return json.dumps([split.classes[number] for number in np.flatnonzero(row)], ensure_ascii=False)

    rows = (
        [split.ids[at], split.name, split.texts[at], listed(split.labels[at]), listed(split.predicted[at])]
        for at in split.mistakes()
    )
    return csv_text([PREDICTION_COLUMNS, *rows])
