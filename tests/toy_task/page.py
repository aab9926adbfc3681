"""The page of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerora.evaluation.html import curve_figures, render_page, render_run, render_summary

PACKAGE = "tests.toy_task"


def render(results: Any, split: str, version: str) -> str:
    shown = {"notes": [], "curves": curve_figures(results, ["loss"]), "curves_title": "Loss", "fresh_head": True}
    return render_run(results, version, PACKAGE, sections=[], split=split, **shown)


def summary(results: Any, split: str) -> str:
    return render_summary(results, PACKAGE, notes=[], curves=curve_figures(results, ["loss"]), curves_title="Loss")


def render_comparison(comparison: Any, reports: Sequence[Path], page: Path, version: str) -> str:
    return render_page("comparison.html", version, PACKAGE, comparison=comparison)


def files(results: Any, split: str) -> dict[str, str | bytes]:
    return {"error.txt": f"{results.after[split]['loss']}\n"}
