"""Evaluates a run on its own rows or on others, and writes what it found."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.errors import DataError, RunError
from kerora.runfolder import RunFolder, check_has_adapter, read_json, write_json
from kerora.runs.open import load, read_config
from kerora.settings.fit import DataConfig, FitConfig
from kerora.settings.resolve import resolve, to_dict
from kerora.tasks.registry import Task, task_named

NEW_ROWS = ("data.train", "data.validation", "data.test", "data.source")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_run` found.

    Attributes:
        metrics: metrics by split.
        folder: holds the files.
        task: the run's task.
        head: what the task read of the run, such as class names.
    """

    metrics: dict[str, dict[str, Any]]
    folder: RunFolder
    task: Task
    head: Any


def evaluate_run(
    path: Path | str,
    settings: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    output: Path | str | None = None,
    force: bool = False,
) -> Evaluation:
    """Evaluate a run and write metrics.json, and for a classifier predictions.csv.

    The run's own rows renew its own metrics.json ("after") and predictions.csv; other rows get a
    folder of their own.

    Args:
        path: the run folder.
        settings: dotted ``data.`` settings that replace the run's; with a new source or file
            those rows are evaluated, otherwise the run's own validation and test rows.
        preset: where the base model is now, if not where the run found it.
        output: folder of the results; None means the run itself for its own rows, else
            ``RUN/evaluations/<name>``.
        force: replace earlier results there.

    Raises:
        RunError: not a run, or the results exist already.
        DataError: the rows cannot be used, or hold a label that the run does not know.
    """
    run = RunFolder.open(path)
    config = read_config(run)
    task = task_named(config.task)
    head = task.models.read_head(run)
    check_has_adapter(run)
    settings = dict(settings or {})
    name, rows = _rows_to_evaluate(run, config, task, head, settings)
    default = run.evaluations / name if name else run.path
    folder = default if output is None else Path(output)
    renews = not name and folder == run.path
    if (folder / run.metrics.name).exists() and not force and not renews:
        raise RunError(f"{folder} holds an evaluation already. Choose another --output or add --force.")
    model = load(run.path, preset)
    found = task.training.evaluate(model, rows, config)
    results = RunFolder(folder)
    task.training.write_details(results, model, found)
    earlier = read_json(run.metrics) if renews and run.metrics.is_file() else {}
    write_json(results.metrics, {**earlier, "after": found.metrics})
    return Evaluation(found.metrics, results, task, head)


def _rows_to_evaluate(
    run: RunFolder, config: FitConfig, task: Task, head: Any, settings: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    if not any(key in settings for key in NEW_ROWS):
        return _own_rows(run, config, task, head, settings)
    data = _new_data_config(config.data, settings)
    files = {split: getattr(data, split) for split in ("train", "validation", "test") if getattr(data, split)}
    specs = files if not settings.get("data.source") else {"test": data.source, **files}
    name = "-".join(_short_name(spec) for spec in specs.values())
    config = dataclasses.replace(config, data=data)
    return name, {split: task.rows.load_part(spec, config, head, split) for split, spec in specs.items()}


def _new_data_config(trained: DataConfig, settings: dict[str, Any]) -> DataConfig:
    # columns and the like carry over from training; sources and sizes do not
    kept = {f"data.{key}": value for key, value in to_dict(trained).items()}
    dropped = (*NEW_ROWS, "data.subset")
    return resolve({key: value for key, value in kept.items() if key not in dropped}, settings).data


def _short_name(spec: str) -> str:
    path = Path(spec).expanduser()
    # resolved, because the name of `..` or `.` would lead out of the folder of evaluations
    return re.sub(r"[^\w.-]+", "-", path.resolve().name if path.exists() else spec)


def _own_rows(
    run: RunFolder, config: FitConfig, task: Task, head: Any, settings: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return the run's own rows; with settings that change them (a subset) they get a name of their own."""
    data = dataclasses.replace(config.data, **{key.removeprefix("data."): value for key, value in settings.items()})
    dataset = task.rows.load(dataclasses.replace(config, data=data))
    recorded = run.read_manifest().get("data", {}).get("splits", {})
    now = dataset.fingerprints()
    changed = [split for split, facts in recorded.items() if now.get(split, {}).get("sha256") != facts.get("sha256")]
    if changed and not settings:
        raise DataError(
            f"The {changed[0]} rows of {config.data.train or config.data.source} changed since {run.path} was trained. "
            "Restore them, or name the rows to evaluate with --data or --test."
        )
    task.rows.check_fits(dataset, head, run.path)
    parts = {split: rows for split, rows in dataset if split != "train"}
    if not parts:
        raise DataError(f"{run.path} was trained without validation and test rows. Name rows with --data or --test.")
    return "own-rows" if changed else "", parts
