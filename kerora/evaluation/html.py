"""The report as one HTML file: no script, style, font or image comes from outside it.

Every text from data goes through jinja2's autoescape; only figures, which hold no such text, and
Kerora's own style and script are inserted as they are. A content security policy inside the page
forbids whatever else could load.
"""

import base64
import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from kerora.evaluation import plots, wording
from kerora.evaluation.comparison import NOT_SETTINGS, Comparison, LanguageComparison, flatten_settings
from kerora.evaluation.metrics import row_percent
from kerora.evaluation.results import RunResults, SplitResults
from kerora.settings.resolve import settings as known_settings

LARGEST_MATRIX = 60
MOST_MISTAKES = 300
LONGEST_TEXT = 600

Fact = tuple[str, str, bool]
"""A name, its value, and whether it stands out."""


@dataclass(frozen=True)
class SplitView:
    """A split, prepared for the page."""

    split: SplitResults
    first: bool
    before: Mapping[str, Any]
    percent: np.ndarray
    confusions: list[wording.Confusion]
    mistakes: list[dict[str, Any]]
    reliability: Markup


def render_report(results: RunResults, split: SplitResults, version: str) -> str:
    """Return the page of one run.

    Args:
        results: the run.
        split: the split to show first; the run's other splits follow, folded.
        version: Kerora's version, for the footer.
    """
    others = [other for other in results.splits.values() if other is not split]
    curves = _curves(results)
    changes = wording.changes(results)
    seconds = results.manifest.get("training_seconds")
    return render_page(
        "report.html",
        version,
        run=results,
        subtitle=_subtitle(results),
        notes=wording.notes(results, split),
        sections=_sections(bool(changes), bool(curves), bool(results.settings)),
        views=[_view(results, view, view is split) for view in (split, *others)],
        changes=changes.items(),
        training_time=wording.duration(seconds) if wording.number(seconds) is not None else None,
        curves=curves,
        history=results.history,
        settings=_settings(results.settings),
        provenance=_provenance(results),
        command=_command(results.manifest.get("argv")),
    )


def render_language_report(results: RunResults, version: str) -> str:
    """Return the page of a language model's run: metrics, curves and samples.

    Args:
        results: the run.
        version: Kerora's version, for the footer.
    """
    curves = _curves(results, ("loss", "perplexity"))
    if results.steps:
        curves.append(Markup(plots.inline_svg(plots.step_curve(results.steps), "Training loss by update")))
    changes = wording.changes(results)
    seconds = results.manifest.get("training_seconds")
    shown = (
        ("before-after", changes),
        ("curves", curves),
        ("samples", results.samples),
        ("settings", results.settings),
    )
    titles = {"before-after": "Before and after", "curves": "Curves", "samples": "Samples", "settings": "Settings"}
    sections = [(key, titles[key]) for key, content in shown if content]
    return render_page(
        "language.html",
        version,
        run=results,
        subtitle=_subtitle(results),
        notes=wording.state_notes(results),
        sections=[("results", "Results"), *sections, ("provenance", "Provenance")],
        views=[],
        changes=changes.items(),
        training_time=wording.duration(seconds) if wording.number(seconds) is not None else None,
        curves=curves,
        history=results.history,
        settings=_settings(results.settings),
        provenance=_provenance(results),
        command=_command(results.manifest.get("argv")),
    )


def render_comparison(comparison: Comparison, reports: Sequence[Path], page: Path, version: str) -> str:
    """Return the page that shows several runs side by side.

    Args:
        comparison: the runs.
        reports: each run's own report.html, for links.
        page: where the page will be, so that links are relative to it.
        version: Kerora's version, for the footer.
    """
    ends = [end for split in comparison.splits for pair in split.intervals.values() for end in pair]
    scale = (np.floor(min(ends) * 20) / 20, max(np.ceil(max(ends) * 20) / 20, np.floor(min(ends) * 20) / 20 + 0.05))
    pairs = zip(comparison.names, comparison.runs, comparison.splits, reports, strict=True)
    notes = [f"{name}: {note}" for name, run, split, _ in pairs for note in wording.notes(run, split)]
    if len({split.name for split in comparison.splits}) > 1:
        notes.insert(0, "The runs have no evaluated split in common: each row shows another split.")
    return render_page(
        "comparison.html",
        version,
        comparison=comparison,
        scale=scale,
        notes=notes,
        rows=[
            _run_row(name, run, split, _link(report, page), scale)
            for name, run, split, report in zip(
                comparison.names, comparison.runs, comparison.splits, reports, strict=True
            )
        ],
        per_class=_class_f1(comparison),
        settings=comparison.different_settings(),
    )


def render_language_comparison(
    comparison: LanguageComparison, reports: Sequence[Path], page: Path, version: str
) -> str:
    """Return the page that shows several runs of language models side by side.

    Args:
        comparison: the runs.
        reports: each run's own report.html, for links.
        page: where the page will be, so that links are relative to it.
        version: Kerora's version, for the footer.
    """
    histories = [run.history for run in comparison.runs]
    figures = (
        {name: plots.run_curves(histories, f"val_{name}") for name in ("loss", "perplexity", "bits_per_byte")}
        if any(histories)
        else {}
    )
    notes = [f"{name}: {note}" for name, run in zip(comparison.names, comparison.runs, strict=True)
             for note in wording.state_notes(run)]  # fmt: skip
    return render_page(
        "language_comparison.html",
        version,
        comparison=comparison,
        notes=[*comparison.notes(), *notes],
        links=[_link(report, page) for report in reports],
        rows=[
            {
                "number": number,
                "name": name,
                "split": split,
                "before": run.before.get(split, {}),
                "after": run.after[split],
                "trainable": wording.whole(wording.lookup(run.manifest, "parameters", "trainable")),
                "training_time": wording.duration(run.manifest.get("training_seconds")),
            }
            for number, name, run, split in comparison.rows()
        ],
        curves=[
            Markup(plots.inline_svg(figure, f"Validation {wording.LABELS[name].lower()} of the runs by epoch"))
            for name, figure in figures.items()
        ],
        samples=_shared_samples(comparison),
        settings=comparison.different_settings(),
    )


def _shared_samples(comparison: LanguageComparison) -> list[tuple[str, list[str]]]:
    """Return the prompts that all runs continued, with each run's continuation after training."""
    texts = [{sample.prompt: sample.after or "" for sample in run.samples} for run in comparison.runs]
    return [(prompt, [own[prompt] for own in texts]) for prompt in texts[0] if all(prompt in own for own in texts)]


def render_page(template: str, version: str, **values: Any) -> str:
    """Return a page of one of the templates, with style and script inside it; all values are escaped."""
    environment = _environment()
    script, style = (environment.loader.get_source(environment, name)[0] for name in ("filter.js", "style.css"))  # type: ignore[union-attr]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shared = {"version": version, "script": Markup(script), "style": Markup(style), "script_hash": f"sha256-{digest}"}
    return environment.get_template(template).render(**shared, **values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerora.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        decimal=wording.decimal,
        signed=wording.signed,
        whole=wording.whole,
        p_value=wording.p_value,
        compact=lambda value: wording.NOTHING if np.isnan(value) else f"{value:.5g}",
        setting=_setting_text,
    )
    environment.globals.update(
        labels=wording.LABELS, hints=wording.HINTS, largest_matrix=LARGEST_MATRIX, split_key=_split_key
    )
    return environment


def _split_key(split: SplitResults) -> str:
    return re.sub(r"\W+", "-", split.name, flags=re.ASCII)


def _sections(changes: bool, curves: bool, settings: bool) -> list[tuple[str, str]]:
    wanted = [
        ("results", "Results", True),
        ("before-after", "Before and after", changes),
        ("curves", "Curves", curves),
        ("confusion", "Confusion matrix", True),
        ("classes", "Each class", True),
        ("calibration", "Calibration", True),
        ("mistakes", "Mistakes", True),
        ("settings", "Settings", settings),
        ("provenance", "Provenance", True),
    ]
    return [(key, title) for key, title, shown in wanted if shown]


def _view(results: RunResults, split: SplitResults, first: bool) -> SplitView:
    before = results.before.get(split.name, {}).get("per_class")
    description = f"Reliability diagram of {_split_key(split)}: accuracy by confidence"
    return SplitView(
        split,
        first,
        {name: values for name, values in _mapping(before).items() if isinstance(values, Mapping)},
        row_percent(split.matrix),
        wording.most_confused(split) if len(split.classes) > 2 else [],
        [_mistake(split, place) for place in split.mistakes()[:MOST_MISTAKES]],
        Markup(plots.inline_svg(plots.reliability(split.calibration), description)),
    )


def _mistake(split: SplitResults, place: int) -> dict[str, Any]:
    text = split.texts[place]
    true = int(split.labels[place])
    return {
        "id": split.ids[place],
        "text": text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…",
        "true": true,
        "predicted": int(split.predicted[place]),
        "score": float(split.scores[place]),
        "true_score": float(split.probabilities[place, true]),
    }


def _curves(results: RunResults, names: Sequence[str] = ("loss", "accuracy")) -> list[Markup]:
    if not results.history:
        return []
    figures = ((name, plots.curves(results.history, results.best_epoch, [name])) for name in names)
    return [
        Markup(plots.inline_svg(figure, f"{name.capitalize()} of train and validation by epoch"))
        for name, figure in figures
    ]


def _subtitle(results: RunResults) -> list[str]:
    manifest = results.manifest
    preset, data = wording.lookup(manifest, "preset", "name"), wording.lookup(manifest, "data", "name")
    rank, alpha = (wording.lookup(results.settings, "lora", key) for key in ("rank", "alpha"))
    trainable, total = (wording.lookup(manifest, "parameters", key) for key in ("trainable", "total"))
    parts = [str(preset) if preset else "", f"data {data}" if data else ""]
    parts.append(f"LoRA rank {rank}, alpha {_setting_text(alpha)}" if rank else "")
    if wording.number(trainable) is not None and wording.number(total):
        share = f"{100 * trainable / total:.2g} %"
        parts.append(f"{wording.whole(trainable)} of {wording.whole(total)} parameters trained ({share})")
    seconds = wording.duration(manifest.get("training_seconds"))
    parts.append(f"{seconds} of training" if seconds != wording.NOTHING else "")
    return [part for part in parts if part]


def _settings(nested: Mapping[str, Any]) -> list[tuple[str, list[Fact]]]:
    defaults = {item.path: item.default for item in known_settings()}
    groups: dict[str, list[Fact]] = {}
    for key, value in flatten_settings(nested):
        if _setting_text(value) == wording.NOTHING:
            continue
        group, _, name = key.rpartition(".")
        plain = tuple(value) if isinstance(value, list) else value
        changed = key in defaults and key not in NOT_SETTINGS and plain != defaults[key]
        groups.setdefault(group, []).append((name.replace("_", " "), _setting_text(value), changed))
    return [(group.capitalize() or "Run", facts) for group, facts in groups.items()]


def _provenance(results: RunResults) -> list[tuple[str, list[Fact]]]:
    manifest = results.manifest
    times = [(name, manifest.get(name)) for name in ("state", "started", "finished", "device", "precision", "seed")]
    times += [("epochs", results.epochs or None), ("kept epoch", manifest.get("best_epoch"))]
    times += [
        (name, wording.duration(manifest.get(key)))
        for name, key in (("training time", "training_seconds"), ("whole time", "seconds"))
    ]
    data = []
    splits = wording.lookup(manifest, "data", "splits")
    for split, values in splits.items() if isinstance(splits, Mapping) else ():
        data.append((f"{split} rows", wording.whole(wording.lookup(values, "rows"))))
        data.append((f"{split} sha256", wording.lookup(values, "sha256")))
    versions = {"kerora": manifest.get("kerora"), **_mapping(manifest.get("versions"))}
    parameters = {key: wording.whole(value) for key, value in _mapping(manifest.get("parameters")).items()}
    return [
        ("Run", _facts(times)),
        ("Versions", _facts(versions.items())),
        ("Pre-trained model", _facts(_mapping(manifest.get("preset")).items())),
        ("Parameters", _facts(parameters.items())),
        ("Base weights", _facts(_mapping(manifest.get("base_weights")).items())),
        ("Data", _facts([("name", wording.lookup(manifest, "data", "name")), *data])),
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _facts(pairs: Iterable[tuple[str, Any]]) -> list[Fact]:
    return [(name, _setting_text(value), False) for name, value in pairs if _setting_text(value) != wording.NOTHING]


def _setting_text(value: Any) -> str:
    if value is None or value in ("", [], ()):
        return wording.NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _command(argv: Any) -> str:
    return shlex.join(str(part) for part in argv) if isinstance(argv, list) else ""


def _link(report: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(report.resolve(), page.resolve().parent)).as_posix())


def _run_row(name: str, run: RunResults, split: SplitResults, link: str, scale: tuple[float, float]) -> dict[str, Any]:
    def place(value: float) -> float:
        return round(float(np.clip(100 * (value - scale[0]) / (scale[1] - scale[0]), 0, 100)), 2)

    places = {
        key: {"low": place(low), "width": round(place(high) - place(low), 2), "value": place(split.metrics[key])}
        for key, (low, high) in split.intervals.items()
    }
    return {
        "name": name,
        "split": split,
        "link": link,
        "places": places,
        "trainable": wording.whole(wording.lookup(run.manifest, "parameters", "trainable")),
        "training_time": wording.duration(run.manifest.get("training_seconds")),
    }


def _class_f1(comparison: Comparison) -> list[tuple[str, list[float]]]:
    """Return F1 by class and run; nothing where the runs have other classes."""
    classes = comparison.splits[0].classes
    if any(set(split.classes) != set(classes) for split in comparison.splits):
        return []
    return [(name, [split.metrics["per_class"][name]["f1"] for split in comparison.splits]) for name in classes]
