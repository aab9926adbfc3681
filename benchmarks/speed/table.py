"""Writes the results: Markdown for people, JSON for programs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.goals import GOALS, medians

PACKAGES = ("keras", "keras-hub", "torch", "transformers", "peft", "accelerate", "tokenizers", "tensorflow")
COLUMNS = {
    "train_seconds": "train s",
    "tokens_per_second": "tokens/s",
    "mean_accuracy": "accuracy",
    "startup_seconds": "start-up s",
    "evaluate_rows_per_second": "evaluate rows/s",
    "rows_per_second": "predict rows/s",
    "first_seconds": "first s",
    "second_seconds": "again s",
    "step_seconds": "step s",
    "gflops": "GFLOP/s",
    "machine_gflops": "machine GFLOP/s",
    "share": "share",
    "wall_seconds": "process s",
    "peak_mb": "peak MB",
}


def facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts about the machine and the work."""
    return {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "settings": dict(settings),
    }


def write(path: Path, about: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """Write PATH.json and PATH.md, and return the Markdown."""
    found = medians(results)
    goals = [
        {"goal": goal.title, "limit": goal.limit, "at_most": goal.at_most, "value": value, "verdict": verdict}
        for goal in GOALS
        for value, verdict in [goal.verdict(found)]
    ]
    content = {**about, "medians": found, "goals": goals, "results": list(results)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = markdown(about, results)
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    return text


def markdown(about: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """Return the report: the machine, the goals, one table per part, and failed measurements."""
    found = medians(results)
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    settings = ", ".join(f"{name} {value}" for name, value in about["settings"].items())
    lines = ["# Speed and memory", "", f"{_machine(about['machine'])}; {packages}. {settings}. Medians.", ""]
    lines += ["| goal | limit | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        value, verdict = goal.verdict(found)
        sign, shown = "<=" if goal.at_most else ">=", "-" if value is None else f"{_number(value)} {goal.unit}".strip()
        lines.append(
            f"| {goal.title} | {sign} {_number(goal.limit)} {goal.unit}".rstrip() + f" | {shown} | {verdict} |"
        )
    for part in dict.fromkeys(result["part"] for result in results):
        lines += ["", f"## {part}", "", *_part(part, results, found)]
    problems = {result["side"]: result["problem"] for result in results if "problem" in result}
    if problems:
        lines += ["", "## Not measured", "", *(f"- {side}: {problem}" for side, problem in problems.items())]
    return "\n".join(lines) + "\n"


def _part(part: str, results: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, float]]) -> list[str]:
    sides = [side for side in dict.fromkeys(r["side"] for r in results if r["part"] == part) if side in found]
    columns = [name for name in COLUMNS if any(name in found[side] for side in sides)]
    lines = ["| |" + "|".join(f" {COLUMNS[name]} " for name in columns) + "|", "|---" * (len(columns) + 1) + "|"]
    for side in sides:
        mark = " (extrapolated)" if "extrapolated" in found[side] else ""
        cells = [_number(found[side][name]) if name in found[side] else "-" for name in columns]
        lines.append(f"| {side.removeprefix(part + '-')}{mark} | " + " | ".join(cells) + " |")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"


def _machine(machine: Mapping[str, Any]) -> str:
    return f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
