"""Evaluates a run on its own rows or on others, and writes what it found."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerora.data.language import load_documents, load_split
from kerora.data.rows import Dataset
from kerora.data.sources import load_dataset, load_rows
from kerora.errors import DataError, RunError
from kerora.evaluation.language import evaluate_documents
from kerora.evaluation.predictions import read_classes, write_predictions
from kerora.evaluation.scoring import evaluate_rows
from kerora.runfolder import RunFolder, check_has_adapter, read_json, write_json
from kerora.runs.open import load, read_config
from kerora.settings.fit import DataConfig, FitConfig
from kerora.settings.resolve import resolve, to_dict

NEW_ROWS = ("data.train", "data.validation", "data.test", "data.source")


@dataclass(frozen=True)
class Evaluation:
    """Metrics by split, the class names, and the folder that holds the files."""

    metrics: dict[str, dict[str, Any]]
    classes: tuple[str, ...]
    folder: Path


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
    classifies = config.task == "classification"
    classes = read_classes(run) if classifies else ()
    check_has_adapter(run)
    settings = dict(settings or {})
    name, parts = _rows_to_evaluate(run, config, classes, settings)
    default = run.evaluations / name if name else run.path
    folder = default if output is None else Path(output)
    renews = not name and folder == run.path
    if (folder / run.metrics.name).exists() and not force and not renews:
        raise RunError(f"{folder} holds an evaluation already. Choose another --output or add --force.")
    model = load(run.path, preset)
    size = config.training.evaluation_batch_size
    if classifies:
        results = {split: (rows, *evaluate_rows(model, rows, size)) for split, rows in parts.items()}
        metrics = {split: values for split, (_, values, _) in results.items()}
        predictions = [(split, rows, np.asarray(p)) for split, (rows, _, p) in results.items()]
        write_predictions(folder / run.predictions.name, classes, predictions)
    else:
        stride = config.language.stride
        metrics = {split: evaluate_documents(model, rows, size, stride) for split, rows in parts.items()}
    earlier = read_json(run.metrics) if renews and run.metrics.is_file() else {}
    write_json(folder / run.metrics.name, {**earlier, "after": metrics})
    return Evaluation(metrics, classes, folder)


def _rows_to_evaluate(
    run: RunFolder, config: FitConfig, classes: tuple[str, ...], settings: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    if not any(key in settings for key in NEW_ROWS):
        return _own_rows(run, config, settings)
    data = _new_data_config(config.data, settings)
    files = {split: getattr(data, split) for split in ("train", "validation", "test") if getattr(data, split)}
    specs = files if not settings.get("data.source") else {"test": data.source, **files}
    name = "-".join(_short_name(spec) for spec in specs.values())
    if config.task != "classification":
        return name, {split: load_split(spec, data, config.language, split) for split, spec in specs.items()}
    return name, {split: load_rows(spec, data, classes, split) for split, spec in specs.items()}


def _new_data_config(trained: DataConfig, settings: dict[str, Any]) -> DataConfig:
    # columns and the like carry over from training; sources and sizes do not
    kept = {f"data.{key}": value for key, value in to_dict(trained).items()}
    dropped = (*NEW_ROWS, "data.subset")
    return resolve({key: value for key, value in kept.items() if key not in dropped}, settings).data


def _short_name(spec: str) -> str:
    path = Path(spec).expanduser()
    # resolved, because the name of `..` or `.` would lead out of the folder of evaluations
    return re.sub(r"[^\w.-]+", "-", path.resolve().name if path.exists() else spec)


def _own_rows(run: RunFolder, config: FitConfig, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the run's own rows; with settings that change them (a subset) they get a name of their own."""
    data = dataclasses.replace(config.data, **{key.removeprefix("data."): value for key, value in settings.items()})
    classifies = config.task == "classification"
    seed = config.training.seed
    dataset: Dataset = load_dataset(data, seed) if classifies else load_documents(data, config.language, seed)
    recorded = run.read_manifest().get("data", {}).get("splits", {})
    now = dataset.fingerprints()
    changed = [split for split, facts in recorded.items() if now.get(split, {}).get("sha256") != facts.get("sha256")]
    if changed and not settings:
        raise DataError(
            f"The {changed[0]} rows of {config.data.train or config.data.source} changed since {run.path} was trained. "
            "Restore them, or name the rows to evaluate with --data or --test."
        )
    if classifies and list(dataset.classes) != list(read_classes(run)):
        raise DataError(f"The rows of {config.data.source} have other classes than {run.path}. Change the settings.")
    parts = {split: rows for split, rows in dataset if split != "train"}
    if not parts:
        raise DataError(f"{run.path} was trained without validation and test rows. Name rows with --data or --test.")
    return "own-rows" if changed else "", parts
