"""Evaluates a run on its own rows or on other rows, and writes the results."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerora.errors import ConfigError, DataError, KeroraError, RunError
from kerora.notices import notice
from kerora.places import expanded, listed_files
from kerora.runfolder import RunFolder, check_has_adapter, read_json, write_json
from kerora.runs.baseline import add_baseline, training_rows
from kerora.runs.open import load, read_by_columns_of, read_config
from kerora.settings.fit import DataConfig, FitConfig
from kerora.settings.resolve import resolve, to_dict
from kerora.tasks.abstention import ANSWER_ALL, Abstention
from kerora.tasks.registry import Task, task_named

# for type checkers alone, as in `kerora.tasks.abstention`
if TYPE_CHECKING:
    from kerora.evaluation.coverage import CoverageCurve

NEW_ROWS = ("data.train", "data.validation", "data.test", "data.source")


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate_run`.

    Attributes:
        metrics: metrics by split.
        folder: the folder that holds the files.
        task: the task of the run.
        head: what the task read from the run, such as class names.
        baseline: the simple model that the run is compared with, by split. Empty if there is none.
    """

    metrics: dict[str, dict[str, Any]]
    folder: RunFolder
    task: Task
    head: Any
    baseline: dict[str, Any] = field(default_factory=dict)


def evaluate_run(
    path: Path | str,
    settings: Mapping[str, Any] | None = None,
    *,
    preset: str | Path | None = None,
    output: Path | str | None = None,
    force: bool = False,
    baseline: bool | None = None,
    abstain: Abstention = ANSWER_ALL,
) -> Evaluation:
    """Evaluate a run and write metrics.json, and for a classifier predictions.csv.

    The run's own rows update metrics.json ("after") and predictions.csv of the run. The results of other rows go into
    a folder of their own.

    Args:
        path: the run folder.
        settings: dotted ``data.`` settings that replace those of the run. If they name a source or a file, its rows
            are evaluated. Otherwise the validation and test rows of the run are evaluated.
        preset: path or name of the base model, if it moved since the run was made.
        output: folder of the results. None means the run folder for the run's own rows, else
            ``RUN/evaluations/<name>``.
        force: whether to replace earlier results.
        baseline: whether to fit the baseline again on the training rows of the run and evaluate it too. Default: as
            in the settings of the run, if its training rows can be read without a download.
        abstain: below which probability no answer is counted. Each split then gets a metric ``coverage``.

    Raises:
        ConfigError: `abstain` holds no probability.
        RunError: the path is not a run, or the results exist. Or the run cannot give the threshold.
        DataError: the rows cannot be used, or hold a label that the run does not know.
    """
    run = RunFolder.open(path)
    config = read_config(run)
    task = task_named(config.task)
    head = task.models.read_head(run)
    check_has_adapter(run)
    abstain.check(run, task)
    settings = dict(settings or {})
    name, rows, train = _rows_to_evaluate(run, config, task, head, settings)
    folder, renews = _folder_of_results(run, name, output, force)
    # of other rows before the model is loaded, of the run's own ones after their predictions are written
    threshold = None if renews else abstain.threshold(run, task)
    # after all checks, because it is slow
    model = load(run.path, preset)
    found = task.training.evaluate(model, rows, config)
    results = RunFolder(folder)
    task.training.write_details(results, model, found)
    metrics, earlier = _write_metrics(run, results, found, renews)
    if abstain:
        # after the metrics are written, because the predictions that give the threshold must agree with them
        threshold = abstain.threshold(run, task) if renews else threshold
        metrics = _with_coverage(metrics, task.answers.curves(results, head), threshold)
        write_json(results.metrics, {**earlier, "after": metrics})
    # the same metrics of the same rows: the recorded baseline is still right
    again = {} if baseline is False else earlier.get("baseline") or {}
    if not again:
        again = _baseline(run, results, task, _wanted(config, baseline), model, train, rows, found)
    return Evaluation(metrics, results, task, head, again)


def _folder_of_results(run: RunFolder, name: str, output: Path | str | None, force: bool) -> tuple[Path, bool]:
    """Return the folder of the results, and whether these replace the run's own ones."""
    # other rows get a folder of their own, so that the figures of the run stay those of its own rows
    default = run.evaluations / name if name else run.path
    folder = default if output is None else Path(output)
    # the run's own results can always be computed again, so replacing them needs no --force
    renews = not name and folder == run.path
    if (folder / run.metrics.name).exists() and not force and not renews:
        raise RunError(f"{folder} already holds an evaluation. Choose another --output or add --force.")
    return folder, renews


def _wanted(config: FitConfig, baseline: bool | None) -> FitConfig:
    if baseline is None:
        return config
    return dataclasses.replace(config, training=dataclasses.replace(config.training, baseline=baseline))


def _write_metrics(
    run: RunFolder, results: RunFolder, found: Any, renews: bool
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Write metrics.json. Return the metrics, and the entries that stay of the file before."""
    earlier = read_json(run.metrics) if renews and run.metrics.is_file() else {}
    # the test in it compares with the metrics of that time
    if earlier.get("after") != found.metrics:
        earlier.pop("baseline", None)
    # `before` stays: the metrics of the untrained model are not computed here
    write_json(results.metrics, {**earlier, "after": found.metrics})
    return found.metrics, earlier


def _baseline(
    run: RunFolder,
    results: RunFolder,
    task: Task,
    config: FitConfig,
    model: Any,
    train: Any | None,
    rows: dict[str, Any],
    found: Any,
) -> dict[str, Any]:
    """Fit the baseline again and add it to the results. Empty if it is not wanted or cannot be fitted."""
    # PEFT trained an imported adapter, on rows that are not known
    if config.training.baseline is False or "imported_from" in run.read_manifest():
        return {}
    try:
        train = training_rows(run, task, config) if train is None else train
    except KeroraError as error:
        notice(f"No baseline: {error}")
        return {}
    return add_baseline(results, task, config, model, train, rows, found)


def _with_coverage(
    metrics: dict[str, dict[str, Any]], curves: "Mapping[str, CoverageCurve]", threshold: float | None
) -> dict[str, dict[str, Any]]:
    assert threshold is not None
    found = {split: curves[split].below(threshold) for split in metrics}
    return {split: {**values, "coverage": found[split].as_dict()} for split, values in metrics.items()}


def _rows_to_evaluate(
    run: RunFolder, config: FitConfig, task: Task, head: Any, settings: dict[str, Any]
) -> tuple[str, dict[str, Any], Any | None]:
    """Return the name of the rows (empty for those of the run), the rows, and the training rows if they were read."""
    if not any(key in settings for key in NEW_ROWS):
        return _own_rows(run, config, task, head, settings)
    if settings.get("data.source") and settings.get("data.test"):
        raise ConfigError("--data and --test both name rows to evaluate. Give one of them.")
    data = read_by_columns_of(run, _new_data_config(config.data, settings))
    files = {split: getattr(data, split) for split in ("train", "validation", "test") if getattr(data, split)}
    # rows that --data names belong to no split: they are reported as test rows
    specs = files if not settings.get("data.source") else {"test": data.source, **files}
    name = "-".join(_short_name(file) for spec in specs.values() for file in listed_files(spec))
    config = dataclasses.replace(config, data=data)
    return name, {split: task.rows.load_part(spec, config, head, split) for split, spec in specs.items()}, None


def _new_data_config(trained: DataConfig, settings: dict[str, Any]) -> DataConfig:
    # new rows usually have the columns of the training rows, so those settings stay. Sources and sizes do not apply. In
    # a wrong encoding a file can be misread without an error
    kept = {f"data.{key}": value for key, value in to_dict(trained).items()}
    dropped = (*NEW_ROWS, "data.subset", "data.format", "data.encoding")
    return resolve({key: value for key, value in kept.items() if key not in dropped}, settings).data


def _short_name(spec: str) -> str:
    path = expanded(spec)
    # resolve first: the name of `..` would lead out of the folder of evaluations
    return re.sub(r"[^\w.-]+", "-", path.resolve().name if path.exists() else spec)


def _own_rows(
    run: RunFolder, config: FitConfig, task: Task, head: Any, settings: dict[str, Any]
) -> tuple[str, dict[str, Any], Any | None]:
    """Return the run's own rows. The name is empty, except if settings change the rows, such as a subset."""
    data = dataclasses.replace(config.data, **{key.removeprefix("data."): value for key, value in settings.items()})
    dataset = task.rows.load(dataclasses.replace(config, data=data))
    recorded = run.read_manifest().get("data", {}).get("splits", {})
    now = dataset.fingerprints()
    # a figure of other rows beside "before" would look like an effect of the training
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
    return ("own-rows", parts, None) if changed else ("", parts, dataset["train"])
