"""The report of language models as HTML, and the other files of the report."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from kerora.evaluation import plots, wording
from kerora.evaluation.comparison import costs
from kerora.evaluation.html import curve_figures, link, render_page, render_run, render_summary, run_figures
from kerora.tasks.language.results import LanguageComparison, LanguageResults

PACKAGE = "kerora.tasks.language"
CURVES, CURVES_TITLE = ("loss", "perplexity"), "Loss and perplexity"


def render(results: LanguageResults, split: None, version: str) -> str:
    """Return the page of one run: metrics, curves and samples."""
    curves = curve_figures(results, CURVES)
    # few epochs give few points, the updates show the course
    if results.steps:
        curves.append(Markup(plots.inline_svg(plots.step_curve(results.steps), "Training loss by update")))
    return render_run(
        results,
        version,
        PACKAGE,
        sections=[("samples", "Samples")] if results.samples else [],
        notes=wording.state_notes(results),
        curves=curves,
        curves_title=CURVES_TITLE,
        fresh_head=False,
    )


def summary(results: LanguageResults, split: None) -> str:
    """Return the part of a page for notebooks."""
    return render_summary(
        results,
        PACKAGE,
        notes=wording.state_notes(results),
        curves=curve_figures(results, CURVES),
        curves_title=CURVES_TITLE,
    )


def render_comparison(comparison: LanguageComparison, reports: Sequence[Path], page: Path, version: str) -> str:
    """Return the page that shows several runs of language models side by side.

    Args:
        comparison: the runs.
        reports: the report.html of each run, for links.
        page: the path that the page will have. Links are relative to it.
        version: Kerora's version, for the footer.
    """
    notes = [f"{name}: {note}" for name, run in zip(comparison.names, comparison.runs, strict=True)
             for note in wording.state_notes(run)]  # fmt: skip
    return render_page(
        "comparison.html",
        version,
        PACKAGE,
        comparison=comparison,
        notes=[*comparison.notes(), *notes],
        links=[link(report, page) for report in reports],
        rows=[
            {
                "number": number,
                "name": name,
                "split": split,
                "best": _is_best(comparison, split, run),
                "before": run.before.get(split, {}),
                "after": run.after[split],
                "trainable": wording.whole(wording.lookup(run.manifest, "parameters", "trainable")),
                "training_time": wording.duration(run.manifest.get("training_seconds")),
            }
            for number, name, run, split in comparison.rows()
        ],
        curves=run_figures([run.history for run in comparison.runs], ("loss", "perplexity", "bits_per_byte")),
        costs=costs(comparison.names, comparison.runs),
        samples=_shared_samples(comparison),
        settings=comparison.different_settings(),
    )


def _is_best(comparison: LanguageComparison, split: str, run: LanguageResults) -> bool:
    """Return whether a run has the fewest bits per byte of a split that all runs evaluated on the same texts."""
    values = [wording.number(other.after.get(split, {}).get("bits_per_byte")) for other in comparison.runs]
    # the fingerprints of the texts that each run was evaluated on
    texts = {wording.lookup(other.manifest, "data", "splits", split, "sha256") for other in comparison.runs}
    known = [value for value in values if value is not None]
    # a run without the value, or with other texts, makes a ranking unfair
    return len(known) == len(values) and len(texts) == 1 and run.after[split]["bits_per_byte"] == min(known)


def files(results: LanguageResults, split: None) -> dict[str, str | bytes]:
    """Return the curves as a picture. Empty if the run has no history."""
    if not results.history:
        return {}
    return {"curves.png": plots.png(plots.curves(results.history, results.best_epoch, CURVES))}


def _shared_samples(comparison: LanguageComparison) -> list[tuple[str, list[str]]]:
    """Return the prompts that all runs continued, with the continuation of each trained model."""
    # an unfinished run has no continuations from after training
    texts = [{sample.prompt: sample.after or "" for sample in run.samples} for run in comparison.runs]
    return [(prompt, [own[prompt] for own in texts]) for prompt in texts[0] if all(prompt in own for own in texts)]
