"""The report as one HTML file. It loads no script, style, font or image from outside.

Jinja2's autoescape escapes every text from data. Only figures, which hold no text from data, and Kerora's own style and
script are inserted unescaped. A content security policy in the page forbids everything else that could load.
"""

import base64
import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np
from markupsafe import Markup

from kerora.evaluation import plots, wording
from kerora.evaluation.comparison import NOT_SETTINGS, flatten_settings
from kerora.evaluation.results import RunResults
from kerora.evaluation.verdict import baseline_views
from kerora.settings.resolve import settings as known_settings

# texts from web pages, such as IMDb's reviews, write line breaks as <br />
_BREAK = re.compile(r"[ \t]*<br\s*/?>[ \t]*", re.IGNORECASE)
OWN_PACKAGE = "kerora.evaluation"

Fact = tuple[str, str, bool]
"""A name, its value, and whether the page highlights it."""


def render_run(
    results: RunResults, version: str, package: str, *, sections: Sequence[tuple[str, str]], **values: Any
) -> str:
    """Return the page of one run. It uses the template ``report.html`` of the task.

    Args:
        results: the run.
        version: Kerora's version, for the footer.
        package: package of the task, which holds the template.
        sections: key and title of the sections that the task adds after the curves.
        values: further values for the template. Always needed: ``notes``, ``curves``, ``curves_title`` and
            ``fresh_head``.
    """
    changes = wording.changes(results)
    seconds = results.manifest.get("training_seconds")
    # a list times False is empty, so the page has no link to a section without content
    baselines = baseline_views(results)
    shown = [("before-after", "Before and after")] * bool(changes) + [("baseline", "Baseline")] * bool(baselines)
    shown += [("curves", "Curves")] * bool(values["curves"])
    last = [("settings", "Settings")] * bool(results.settings) + [("provenance", "Provenance")]
    return render_page(
        "report.html",
        version,
        package,
        run=results,
        subtitle=_subtitle(results),
        sections=[("results", "Results"), *shown, *sections, *last],
        changes=changes.items(),
        baselines=baselines,
        training_time=wording.duration(seconds) if wording.number(seconds) is not None else None,
        history=results.history,
        settings=_settings(results.settings, results.manifest.get("changed_settings")),
        provenance=_provenance(results),
        command=_command(results.manifest.get("argv")),
        **values,
    )


def render_summary(results: RunResults, package: str, template: str = "summary.html", **values: Any) -> str:
    """Return a part of a page for notebooks: metrics before and after, and the curves of a run.

    Args:
        results: the run.
        package: package of the task, which holds the template.
        template: file name of the template. It extends ``summary.html``.
        values: further values for the template. Always needed: ``notes``, ``curves`` and ``curves_title``.
    """
    environment = _environment(package)
    seconds = results.manifest.get("training_seconds")
    return environment.get_template(template).render(
        style=Markup(environment.loader.get_source(environment, "notebook.css")[0]),  # type: ignore[union-attr]
        run=results,
        subtitle=_subtitle(results),
        changes=wording.changes(results).items(),
        verdicts=[view.sentence for view in baseline_views(results) if view.sentence],
        training_time=wording.duration(seconds) if wording.number(seconds) is not None else None,
        **values,
    )


def render_page(template: str, version: str, package: str = OWN_PACKAGE, **values: Any) -> str:
    """Return a page made from a template, with style and script inside it. All values are escaped.

    Args:
        template: file name of the template.
        version: Kerora's version, for the footer.
        package: package whose folder ``templates`` is searched first. Default: `kerora.evaluation`.
        values: values for the template.
    """
    environment = _environment(package)
    script, style = (environment.loader.get_source(environment, name)[0] for name in ("filter.js", "style.css"))  # type: ignore[union-attr]
    # The policy allows only the script with this hash: a script that slips in with data cannot run.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shared = {"version": version, "script": Markup(script), "style": Markup(style), "script_hash": f"sha256-{digest}"}
    return environment.get_template(template).render(**shared, **values)


@cache
def _environment(package: str) -> jinja2.Environment:
    # the folder of the task first, so that its templates win; a dict, because both can be the same package
    places = dict.fromkeys((package, OWN_PACKAGE))
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in places]),
        autoescape=True,
        # a wrong name in a template is an error instead of an empty text
        undefined=jinja2.StrictUndefined,
        # a line that holds only a template tag leaves no blank line in the page
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        decimal=wording.decimal,
        signed=wording.signed,
        whole=wording.whole,
        duration=wording.duration,
        readable=readable,
        p_value=wording.p_value,
        compact=lambda value: wording.NOTHING if np.isnan(value) else f"{value:.5g}",
        setting=_setting_text,
    )
    environment.globals.update(labels=wording.LABELS, hints=wording.HINTS)
    return environment


def run_figures(histories: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]) -> list[Markup]:
    """Return the validation curves of several runs in one figure for each value that a run recorded."""
    held = [
        name for name in names if any(np.isfinite(history.get(f"val_{name}", np.nan)).any() for history in histories)
    ]
    return [
        Markup(
            plots.inline_svg(
                plots.run_curves(histories, f"val_{name}"),
                f"Validation {wording.LABELS[name].lower()} of the runs by epoch",
            )
        )
        for name in held
    ]


def curve_figures(results: RunResults, names: Sequence[str]) -> list[Markup]:
    """Return the curves of train and validation by epoch. Empty if there is no history."""
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
    method, rank, alpha = (wording.lookup(results.settings, "lora", key) for key in ("method", "rank", "alpha"))
    trainable, total = (wording.lookup(manifest, "parameters", key) for key in ("trainable", "total"))
    parts = [str(preset) if preset else "", f"data {data}" if data else ""]
    # a run without LoRA has a rank in its settings too, so the method decides below
    lora = f"LoRA rank {rank}, alpha {_setting_text(alpha)}" if rank else ""
    parts.append({"full": "full fine-tuning", "head": "head alone"}.get(str(method), lora))
    if wording.number(trainable) is not None and wording.number(total):
        share = f"{100 * trainable / total:.2g} %"
        parts.append(f"{wording.whole(trainable)} of {wording.whole(total)} parameters trained ({share})")
    seconds = wording.duration(manifest.get("training_seconds"))
    parts.append(f"{seconds} of training" if seconds != wording.NOTHING else "")
    return [part for part in parts if part]


def _settings(nested: Mapping[str, Any], given: Any) -> list[tuple[str, list[Fact]]]:
    """Return the settings by group.

    Args:
        nested: config.yaml, which holds every value that a fit settled.
        given: keys of the settings that the user changed. None in runs of earlier versions.
    """
    defaults = {item.path: item.default for item in known_settings()}
    groups: dict[str, list[Fact]] = {}
    for key, value in flatten_settings(nested):
        if _setting_text(value) == wording.NOTHING:
            continue
        group, _, name = key.rpartition(".")
        # YAML gives lists, the defaults are tuples
        plain = tuple(value) if isinstance(value, list) else value
        # a default of None or "auto" is settled by the fit: an old run does not tell whether the user changed it
        differs = key in defaults and key not in NOT_SETTINGS and plain != defaults[key]
        changed = key in given if isinstance(given, list) else differs and defaults[key] not in (None, "auto")
        groups.setdefault(group, []).append((name.replace("_", " "), _setting_text(value), changed))
    return [(group.capitalize() or "Run", facts) for group, facts in groups.items()]


def _provenance(results: RunResults) -> list[tuple[str, list[Fact]]]:
    manifest = results.manifest
    times = [(name, manifest.get(name)) for name in ("state", "started", "finished", "device", "precision", "seed")]
    times += [("epochs", results.epochs or None), ("kept epoch", manifest.get("best_epoch"))]
    # runs of earlier versions have the sentence under another name
    times.append(("end of training", manifest.get("ending", manifest.get("early_stopping"))))
    times += [
        (name, wording.duration(manifest.get(key)))
        for name, key in (("training time", "training_seconds"), ("whole time", "seconds"))
    ]
    data = []
    splits = wording.lookup(manifest, "data", "splits")
    for split, values in splits.items() if isinstance(splits, Mapping) else ():
        data.append((f"{split} rows", wording.whole(wording.lookup(values, "rows"))))
        data.append((f"{split} sha256", wording.lookup(values, "sha256")))
    versions = {"kerora": manifest.get("kerora"), **mapping(manifest.get("versions"))}
    parameters = {
        key.replace("_", " "): wording.whole(value) for key, value in mapping(manifest.get("parameters")).items()
    }
    return [
        ("Run", _facts(times)),
        ("Versions", _facts(versions.items())),
        ("Pre-trained model", _facts(mapping(manifest.get("preset")).items())),
        ("Parameters", _facts(parameters.items())),
        ("Base weights", _facts(mapping(manifest.get("base_weights")).items())),
        ("Data", _facts([("name", wording.lookup(manifest, "data", "name")), *data])),
    ]


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, else an empty mapping."""
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


def readable(text: str) -> str:
    """Return a text for reading: the line breaks of web pages become line breaks."""
    return _BREAK.sub("\n", text)


def split_key(split: Any) -> str:
    """Return the name of a split as a part of an id in HTML, which must not contain blanks."""
    return re.sub(r"\W+", "-", split.name, flags=re.ASCII)


def run_row(name: str, run: RunResults, split: Any, link: str) -> dict[str, Any]:
    """Return what the table of a comparison shows of every run."""
    return {
        "name": name,
        "split": split,
        "link": link,
        "trainable": wording.whole(wording.lookup(run.manifest, "parameters", "trainable")),
        "training_time": wording.duration(run.manifest.get("training_seconds")),
    }


def link(report: Path, page: Path) -> str:
    """Return the link from one page to another, relative and quoted."""
    # relative, so that links still work after the folder of the runs is moved
    return quote(Path(os.path.relpath(report.resolve(), page.resolve().parent)).as_posix())
