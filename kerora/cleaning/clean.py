"""`kerora clean`: out-of-fold probabilities, suspicions, a table and a page; then a new file of rows."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kerora.cleaning.findings import find, most_suspicious, table_text
from kerora.cleaning.folds import fold_numbers, out_of_fold
from kerora.cleaning.page import render
from kerora.cleaning.rows import AllRows, check_new_file, load_all, read_corrections, write_new
from kerora.errors import ConfigError, DataError, RunError
from kerora.models.embedding import Embedder
from kerora.notices import notice
from kerora.runfolder import read_json, write_json, write_text
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import flatten, to_dict
from kerora.tasks.found import with_task
from kerora.tasks.registry import Task, task_named, tasks
from kerora.tuning.workbench import Workbench

FOLDER = "clean"
FOLDS = 5
TABLE, PAGE, RECORD = "suspicions.csv", "report.html", "clean.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cleaned:
    """What `clean` wrote.

    Attributes:
        folder: the folder of the table and the page. None if corrections were applied.
        rows: number of rows.
        wrong: number of labels that are probably wrong.
        twins: number of rows with a near-duplicate that has another label.
        outliers: number of outliers.
        output: the new file, or None.
        written: number of its rows.
        changed: number of changed labels in it.
    """

    folder: Path | None
    rows: int
    wrong: int = 0
    twins: int = 0
    outliers: int = 0
    output: Path | None = None
    written: int = 0
    changed: int = 0


def clean(
    config: FitConfig,
    folder: Path | None = None,
    *,
    folds: int = FOLDS,
    drop: int | None = None,
    relabel: Path | None = None,
    output: Path | None = None,
    force: bool = False,
    say: Say = lambda text: None,
) -> Cleaned:
    """Find suspicious rows of a data set, or write a new file without them or with corrected labels.

    The table and the page are made once. A later call with the same rows and settings reads the table again.

    Args:
        config: the data, and the settings of the training. The rows of all parts are used.
        folder: folder of the table and the page. Default: ``clean/<name of the data>``.
        folds: number of folds. Default: 5.
        drop: write a new file without this many most suspicious rows.
        relabel: write a new file with the corrections of this table. Nothing is trained.
        output: the new file, .csv or .jsonl. Default: ``cleaned.jsonl`` in the folder.
        force: replace an earlier result or an existing new file.
        say: called with lines about the progress.

    Raises:
        ConfigError: the task has no such check, or options contradict each other.
        DataError: the rows cannot be used.
        RunError: a file exists.
    """
    config, task = _checked(config, drop, relabel, output)
    every = load_all(config, task)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", every.dataset.name).strip("-.") or "data"
    folder = folder or Path(FOLDER) / name
    target = output or folder / "cleaned.jsonl"
    if drop is not None or relabel is not None:
        check_new_file(target, config.data, force)
    if relabel is not None:
        changes = read_corrections(relabel, every)
        before = every.rows.targets or ()
        changed = sum(before[place] != label for place, label in changes.items())
        if not changed:
            raise DataError(f"{relabel} changes no label. Fill in its column 'new_label'.")
        written = write_new(every, target, frozenset(), changes)
        return Cleaned(None, len(every.rows), output=target, written=written, changed=changed)
    if drop is not None and not 0 < drop < len(every.rows):
        raise ConfigError(f"--drop must be from 1 to {len(every.rows) - 1}, so that rows are left. Received: {drop}")
    result = _found(config, every, folder, folds, force, say)
    if drop is None:
        return result
    if drop > result.wrong:
        notice(f"--drop {drop} is more than the {result.wrong:,} labels that are probably wrong.")
    places = frozenset(most_suspicious(folder / TABLE, drop))
    return dataclasses.replace(result, output=target, written=write_new(every, target, places, {}))


def _checked(config: FitConfig, drop: int | None, relabel: Path | None, output: Path | None) -> tuple[FitConfig, Task]:
    if drop is not None and relabel is not None:
        raise ConfigError("--drop and --relabel both write a new file. Leave one out.")
    if output is not None and drop is None and relabel is None:
        raise ConfigError(f"--output {output} names the new file of --drop or --relabel. Add one of them.")
    config = with_task(config)
    task = task_named(config.task)
    if not task.cleans:
        known = ", ".join(other.name for other in tasks() if other.cleans)
        raise ConfigError(f"kerora clean finds wrong labels of --task {known}. Received: --task {task.name}")
    # No row of a fold may decide which epoch is kept, and a temperature needs validation rows.
    training = dataclasses.replace(config.training, early_stopping=False, calibrate=False)
    return dataclasses.replace(config, training=training), task


def _found(config: FitConfig, every: AllRows, folder: Path, folds: int, force: bool, say: Say) -> Cleaned:
    record = _record(config, every, folds)
    earlier = read_json(folder / RECORD) if (folder / RECORD).is_file() else None
    if earlier is not None and not force:
        if earlier.get("made_from") != record:
            raise RunError(f"{folder} holds the result of other rows or settings. Choose another --folder or --force.")
        say(f"{folder} holds the result of these rows and settings. It is read again")
        return Cleaned(folder, **earlier["counts"])
    if earlier is None and folder.is_dir() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty and holds no result of kerora clean. Choose another --folder.")
    fold_numbers(every.labels, folds, 0)  # an error appears before the slow loading of the model
    _tell_rare(every, folds)
    bench = Workbench(config, every.dataset)
    probabilities = out_of_fold(bench, every.rows, folds, say)
    say("Embedding the texts")
    vectors = Embedder.of_model(bench.base_model()).embed(every.rows)
    found = find(every, probabilities, vectors)
    counts: dict[str, Any] = {
        "rows": len(every.rows),
        "wrong": int(found.wrong.sum()),
        "twins": int((found.twin >= 0).sum()),
        "outliers": int(found.outlier.sum()),
    }
    write_text(folder / TABLE, table_text(every, found))
    write_text(folder / PAGE, render(every, found, bench.preset.name, folds))
    # Last: a folder with this file is complete.
    write_json(folder / RECORD, {"made_from": record, "counts": counts})
    return Cleaned(folder, **counts)


def _record(config: FitConfig, every: AllRows, folds: int) -> dict[str, Any]:
    """Return what a result depends on."""
    digest = hashlib.sha256(every.rows.fingerprint().encode())
    for identifier, part in zip(every.rows.ids, every.parts, strict=True):
        digest.update(f"{identifier}\0{part}\0".encode("utf-8", "surrogatepass"))
    kept = ("model.", "lora.", "training.")
    settings = {key: value for key, value in flatten(to_dict(config)).items() if key.startswith(kept)}
    # As JSON reads it again.
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    return {"rows": digest.hexdigest(), "folds": folds, "settings": plain}


def _tell_rare(every: AllRows, folds: int) -> None:
    counts = every.rows.label_counts(every.dataset.classes)
    if alone := [name for name, count in counts.items() if count == 1]:
        listed = ", ".join(f"'{name:.40}'" for name in alone[:5])
        notice(f"Classes with one row are not judged, because the model cannot learn them elsewhere: {listed}.")
    if rare := [name for name, count in counts.items() if 1 < count < folds]:
        listed = ", ".join(f"'{name:.40}'" for name in rare[:5])
        notice(f"Classes with fewer rows than folds ({folds}) are judged by few rows: {listed}.")
