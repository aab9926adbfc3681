"""report.html of a study: one file, in the style of the other reports."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from markupsafe import Markup
from matplotlib.figure import Figure

from kerora.evaluation import wording
from kerora.evaluation.html import render_page
from kerora.evaluation.plots import inline_svg
from kerora.tuning import plots
from kerora.tuning.noise import Verdict, verdict, weak_note
from kerora.tuning.records import Record, best_record, default_record
from kerora.tuning.search import Search
from kerora.version import __version__


def render_study(search: Search, study: optuna.Study, records: Sequence[Record]) -> str:
    """Return the page of a study that has at least one complete trial."""
    best, default = best_record(records, search.maximize), default_record(records)
    assert best is not None
    importance = plots.importances(study)
    found = verdict(search, best, default)
    return render_page(
        "study.html",
        __version__,
        name=search.folder.path.resolve().name,
        subtitle=_subtitle(search),
        notes=_notes(records, found, weak_note(search, best)),
        metric=label_of(search.metric),
        best=best,
        default=default,
        spread={"best": _spread(best), "default": _spread(default)},
        counts=Counter(record.state for record in records),
        duration=wording.duration(sum(record.seconds or 0.0 for record in records)),
        verdict=found.sentence,
        difference=found.difference,
        rows=len(search.bench.data["validation"]),
        noun=search.bench.data["validation"].noun,
        paths=search.paths,
        defaults=search.defaults,
        importance=importance,
        figures=_figures(search, records, best, importance),
        records=records,
    )


def label_of(metric: str) -> str:
    """Return the label of a metric for the report."""
    return wording.LABELS.get(metric, metric.replace("_", " "))


def _subtitle(search: Search) -> list[str]:
    settings = search.settings
    seeds = f"{settings.repeats} seeds a trial" if settings.repeats > 1 else ""
    parts = (
        f"{search.bench.preset.name}",
        f"data {search.bench.data.name}",
        f"space {settings.space}",
        f"sampler {settings.sampler}",
        f"pruner {settings.pruner}",
        seeds,
    )
    return [part for part in parts if part]


def _notes(records: Sequence[Record], found: Verdict, weak: str | None) -> list[str]:
    notes = [] if weak is None else [weak]
    # the page is also written after an interrupt
    unended = sum(not record.ended for record in records)
    if unended:
        notes.append(f"The search is not finished: {unended} of {len(records)} trials are running or waiting.")
    if found.difference is not None and found.difference.is_noise:
        notes.append(f"{found.sentence} Use it only if it has no other cost.")
    failed = [record for record in records if record.state == "failed"]
    if failed:
        notes.append(f"{len(failed)} trials failed. The first error: {failed[0].error}")
    return notes


def _spread(record: Record | None) -> float | None:
    # ddof=1: a sample of seeds, whose mean is estimated too
    return None if record is None or len(record.scores) < 2 else float(np.std(record.scores, ddof=1))


def _figures(search: Search, records: Sequence[Record], best: Record, importance: dict[str, float]) -> dict[str, Any]:
    metric, parameters = label_of(search.metric), search.space.parameters
    figures: dict[str, Any] = {
        "history": _inline(plots.history(records, metric, search.maximize), "Score by trial"),
        "slices": [
            _inline(figure, f"Score by setting {number}")
            for number, figure in enumerate(plots.slices(records, parameters, metric), 1)
        ],
        "parallel": _inline(plots.parallel(records, parameters, metric, best), "Settings and score of each trial"),
    }
    if importance:
        figures["importance"] = _inline(plots.importance_bars(importance), "Importance of each setting")
    return figures


def _inline(figure: Figure, description: str) -> Markup:
    return Markup(inline_svg(figure, description))
