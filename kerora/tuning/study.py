"""`kerora tune`: runs a study from settings and a search space, and writes its results."""

import dataclasses
import os
import re
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from kerora.errors import ConfigError, Interrupted, RunError, TrainingError
from kerora.evaluation.wording import decimal
from kerora.guards.links import check_links
from kerora.guards.locks import claimed
from kerora.notices import notice
from kerora.runfolder import RunFolder, write_text
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import as_settings, dump_yaml
from kerora.settings.tune import TuneConfig
from kerora.tasks.found import with_task
from kerora.tracking.tracking import check_start
from kerora.training.interrupt import InterruptFlag, interrupt_flag
from kerora.training.kept_data import keep, relative
from kerora.training.progress import Progress
from kerora.tuning.html import render_study
from kerora.tuning.identity import identity, is_maximized, open_study
from kerora.tuning.noise import Difference, verdict, weak_note
from kerora.tuning.objective import Objective
from kerora.tuning.records import Record, best_record, default_record, experiment_log, read_records
from kerora.tuning.refit import check_refit, refit
from kerora.tuning.runner import Job, Workers, run_trials
from kerora.tuning.samplers import grid_points, make_pruner, make_sampler
from kerora.tuning.search import Observer, Search, StudyFolder
from kerora.tuning.space import Space, load_space
from kerora.tuning.storage import open_storage, storage_errors
from kerora.tuning.workbench import Workbench, searched_task

SHOW_SECONDS = 0.5
SETUP_SECONDS = 60.0
"""How long a process waits for another one that opens the same study."""


@dataclass(frozen=True, repr=False)
class TuneResult:
    """The result of a search. It prints in a few lines.

    Attributes:
        folder: the folder of the study.
        metric: the optimised metric.
        records: all trials.
        best: the best trial.
        default: the trial of the defaults. None if it failed.
        difference: difference of the best trial to the defaults on the validation rows. None if it was not tested.
        verdict: the difference as a sentence.
        weak: a sentence if even the best trial is not better than a constant answer, such as the most frequent class.
        refit: the run that was trained on training and validation rows, or None.
    """

    folder: StudyFolder
    metric: str
    records: list[Record]
    best: Record
    default: Record | None
    difference: Difference | None
    verdict: str
    weak: str | None = None
    refit: RunFolder | None = None

    def __repr__(self) -> str:
        values = ", ".join(f"{path}={value}" for path, value in self.best.settings.items())
        score = "" if self.best.score is None else f", score {decimal(self.best.score)}"
        lines = [
            f"TuneResult: {self.folder.path}, {len(self.records)} trials",
            f"best: trial {self.best.number}{score}",
        ]
        refit = [] if self.refit is None else [f"refit: {self.refit.path}"]
        return "\n".join([*lines, values, self.verdict, *refit])


def tune(
    config: FitConfig | Mapping[str, Any] | None = None,
    settings: TuneConfig | Mapping[str, Any] | None = None,
    *,
    space: Space | Mapping[str, Any] | str | Path | None = None,
    observer: Observer | None = None,
    progress: Progress | None = None,
    argv: Sequence[str] = (),
    files: Collection[Path] = (),
) -> TuneResult:
    """Search settings of a fit, and write the folder of the study.

    The first trial is the defaults. An existing study is continued. The trials never read the test rows.

    Args:
        config: the settings of every trial that are not searched, or a mapping of them. None takes every default.
        settings: the settings of the search, or a mapping of them. None takes every default.
        space: the search space, in place of the file or name in `settings`.
        observer: receives the trials while they run. None shows nothing.
        progress: shows the training of the refit. None shows nothing.
        argv: the command line, for the manifest of the refit.
        files: files of rows among those of `config` that are moved into the folder of the study.

    Raises:
        KeroraError: an input cannot be used, and nothing was written. Or all trials failed. Or the search was
            interrupted, and the same call continues it.
    """
    base, own = ({} if given is None else given for given in (config, settings))
    search = prepare(as_settings(base, FitConfig), as_settings(own, TuneConfig), space)
    observer = observer or Observer()
    with storage_errors(search.settings.storage, search.folder.path):
        study, search = _begin(search, files)
        try:
            with interrupt_flag() as flag, flag.hold():
                observer.begin(search)
                _run(search, study, _updates(search, study, observer), flag)
        except KeyboardInterrupt as error:
            records = conclude(search, study)
            done = sum(record.ended for record in records)
            raise Interrupted(
                f"Interrupted after {done} of {search.settings.trials} trials. The same command continues the study "
                f"{search.folder.path}.",
                flag.signal_number or signal.SIGINT,
            ) from error
        finally:
            observer.end()
        records = conclude(search, study)
    return _result(search, records, progress, argv)


def prepare(
    config: FitConfig, settings: TuneConfig, space: Space | Mapping[str, Any] | str | Path | None = None
) -> Search:
    """Check everything that a search needs, and load data and base model. This writes nothing."""
    config = with_task(config)
    task = searched_task(config)
    metric = task.search.METRIC if settings.metric is None else settings.metric
    found = load_space((settings.space or task.search.SPACE) if space is None else space)
    maximize = is_maximized(task, metric)
    if settings.refit:
        check_refit(task, config)
    check_start(config.log)
    bench = Workbench(config)
    task.search.check(metric, bench.data, [parameter.path for parameter in found.parameters])
    defaults = found.defaults(bench.settled(bench.config))
    for line in bench.concerns():
        notice(line)
    make_sampler(settings, found, config.training.seed, defaults)  # raises if the space does not suit the sampler
    trials = settings.trials
    if settings.sampler == "grid":
        # 1: the trial of the defaults, which is no point of the grid
        trials = min(trials, 1 + len(grid_points(found, config.training.seed, defaults)))
    stem = f"{bench.preset.name}-{bench.data.name}-{found.name}"
    # characters that do not fit into a path become -
    name = settings.study or re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")
    path = Path(name) if os.sep in name else Path(settings.studies_dir) / name
    if not re.fullmatch(r"\w[\w.-]*", path.name):
        raise ConfigError(f"A study's name may hold letters, digits, '.', '_' and '-'. Received: --study {name!r}")
    settled = dataclasses.replace(settings, metric=metric, study=path.name, trials=trials, space=found.name)
    deadline = None if settings.timeout is None else time.time() + settings.timeout
    return Search(config, settled, found, bench, defaults, StudyFolder(path), maximize, deadline)


def _begin(search: Search, files: Collection[Path]) -> tuple[optuna.Study, Search]:
    """Open the study and its folder. Several processes may work on one study, but only one of them makes it."""
    check_links(search.folder.path)
    with claimed(search.folder.path, "study", "--study", wait=SETUP_SECONDS):
        found = _open(search), _with_kept_rows(search, files)
    # the claim removes a folder that is still empty, as with a storage elsewhere
    _make_folder(search.folder.path)
    return found


def _open(search: Search) -> optuna.Study:
    # Kerora shows the trials itself
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    proposable = {
        parameter.path: search.defaults[parameter.path]
        for parameter in search.space.parameters
        if parameter.holds(search.defaults[parameter.path])
    }
    return open_study(
        open_storage(search.settings.storage, search.folder.path),
        str(search.settings.study),
        identity(search.bench, search.space, search.settings),
        proposable,
        search.maximize,
        sampler=make_sampler(search.settings, search.space, search.config.training.seed, search.defaults),
        pruner=make_pruner(search.settings, _most_epochs(search)),
    )


def _with_kept_rows(search: Search, files: Collection[Path]) -> Search:
    data = keep(search.folder.data, search.config.data, files)
    search.bench.moved(data)
    return dataclasses.replace(search, config=dataclasses.replace(search.config, data=data))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot create the study folder {path}: {error.strerror}. Choose another --study.") from error


def _most_epochs(search: Search) -> int:
    # the Hyperband pruner needs the longest training that can occur
    epochs = next((item for item in search.space.parameters if item.path == "training.epochs"), None)
    settled = search.bench.settled(search.bench.config).training.epochs or 1
    if epochs is None:
        return settled
    values = [epochs.range.high] if epochs.range else [value for value in epochs.choices if isinstance(value, int)]
    # as a list, because the choices may hold no number
    return max([settled, *(int(value) for value in values)])


def _run(search: Search, study: optuna.Study, shown: Callable[[], None], flag: InterruptFlag) -> None:
    settings = search.settings
    if settings.workers == 1:
        bench, space, defaults = search.bench, search.space, search.defaults
        objective = Objective(bench, space, settings, defaults, shown, flag, search.folder.logs)
        run_trials(study, objective, settings.trials, search.deadline, shown, flag)
        return
    most_epochs = _most_epochs(search)
    search.bench.release()  # the workers load their own base models, so this process needs no memory for them
    job = Job(search.config, settings, search.space, search.folder.path, most_epochs, search.deadline)
    with Workers(job, settings.workers) as workers:
        workers.wait(shown, flag)


def _updates(search: Search, study: optuna.Study, observer: Observer) -> Callable[[], None]:
    """Return a function that shows the trials, and writes the log when a trial ended. With workers: every half second.

    The interval limits the queries to the storage while several workers run.
    """
    seen = {"ended": -1, "at": 0.0}

    def shown() -> None:
        if time.monotonic() - seen["at"] < SHOW_SECONDS and search.settings.workers > 1:
            return
        records = read_records(study)
        observer.update(records)
        # the log is written only if it changed, because `shown` is called after every epoch
        ended = sum(record.ended for record in records)
        if ended != seen["ended"]:
            _write_log(search, records)
        seen["ended"], seen["at"] = ended, time.monotonic()

    return shown


def conclude(search: Search, study: optuna.Study) -> list[Record]:
    """Write the results of a study: the log, and if a trial is complete, the best settings and the report."""
    records = read_records(study)
    _write_log(search, records)
    best = best_record(records, search.maximize)
    if best is not None:
        write_text(search.folder.best, _best_yaml(search, best))
        write_text(search.folder.report, render_study(search, study, records))
    return records


def _write_log(search: Search, records: Sequence[Record]) -> None:
    write_text(search.folder.log, experiment_log(records, search.paths, search.bench.task.search.METRICS))


def _best_yaml(search: Search, best: Record) -> str:
    head = (
        f"# The best of the study {search.settings.study}: trial {best.number}, "
        f"validation {search.metric} {best.score:.4f}.\n#\n"
        f"#   kerora fit --config {search.folder.best}\n\n"
    )
    # without the name of a run, so that `kerora fit` makes a new one
    config = search.with_own_rows(best.config)
    return head + dump_yaml(dataclasses.replace(config, run=None, data=relative(search.folder.path, config.data)))


def _result(search: Search, records: list[Record], progress: Progress | None, argv: Sequence[str]) -> TuneResult:
    best, default = best_record(records, search.maximize), default_record(records)
    if best is None:
        raise _nothing_complete(search, records)
    found, weak = verdict(search, best, default), weak_note(search, best)
    run = refit(search, best, progress, argv) if search.settings.refit else None
    return TuneResult(search.folder, search.metric, records, best, default, found.difference, found.sentence, weak, run)


def _nothing_complete(search: Search, records: Sequence[Record]) -> TrainingError:
    failed = [record for record in records if record.state == "failed"]
    if not failed:
        return TrainingError("No trial was complete before the timeout. Give a longer --timeout.")
    first = failed[0].error.rstrip(".")
    return TrainingError(f"All {len(failed)} trials failed. The first error: {first}. Log: {search.folder.log}")
