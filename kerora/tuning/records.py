"""The results of a study, trial by trial, read from its storage."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from kerora.settings.fit import FitConfig
from kerora.settings.resolve import resolve
from kerora.tuning.packing import unpack
from kerora.tuning.storage import DEFAULTS, ERROR, PROCESS, counted

SETTINGS, RESULTS, PREDICTIONS = "settings", "results", "predictions"
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
ENDED = ("complete", "pruned", "failed")
DIED = "The process of the trial ended several times without an error message."


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        number: place in the study, from 1.
        state: ``complete``, ``pruned``, ``failed``, ``running`` or ``waiting``.
        is_default: whether it is the trial of the defaults.
        settings: values of the searched settings. Settings whose condition does not hold are missing.
        score: value of the metric, mean over the seeds. For a pruned or running trial: the newest value.
        results: the record of `Objective`: scores, metrics, epochs, seconds, config.
        epoch: number of the newest epoch with a reported metric.
        started: start time.
        seconds: duration, or time so far.
        worker: host and process.
        error: reason of the failure.
        trial: the record of Optuna.
    """

    number: int
    state: str
    is_default: bool
    settings: Mapping[str, Any]
    score: float | None
    results: Mapping[str, Any]
    epoch: int
    started: datetime | None
    seconds: float | None
    worker: str
    error: str
    trial: FrozenTrial

    @property
    def ended(self) -> bool:
        """Whether the trial has ended."""
        return self.state in ENDED

    @property
    def scores(self) -> list[float]:
        """The score of each seed."""
        return list(self.results.get("scores", []))

    @property
    def config(self) -> FitConfig:
        """The settled settings of the fit."""
        return resolve(self.results["config"])

    @property
    def predictions(self) -> list[dict[str, np.ndarray]]:
        """The predictions of each seed, see `SearchFace.predictions`. Empty if they were not stored."""
        return [unpack(text) for text in self.trial.user_attrs.get(PREDICTIONS, [])]


def read_records(study: optuna.Study) -> list[Record]:
    """Return the trials that count, in order."""
    trials = counted(study.get_trials(deepcopy=False))
    return [_record(number, trial) for number, trial in enumerate(trials, 1)]


def _record(number: int, trial: FrozenTrial) -> Record:
    attributes = trial.user_attrs
    state = STATES[trial.state]
    score = trial.value if trial.state == TrialState.COMPLETE else None
    if score is None and trial.intermediate_values:
        score = trial.intermediate_values[max(trial.intermediate_values)]
    # Optuna stores local times without a zone
    end = trial.datetime_complete or (datetime.now() if state == "running" else None)
    seconds = (end - trial.datetime_start).total_seconds() if end and trial.datetime_start else None
    process = attributes.get(PROCESS)
    return Record(
        number,
        state,
        bool(attributes.get(DEFAULTS)),
        # params lack default values that are outside of the space
        attributes.get(SETTINGS, trial.params),
        score,
        attributes.get(RESULTS, {}),
        max(trial.intermediate_values, default=0),
        trial.datetime_start,
        seconds,
        f"{process['host']}:{process['pid']}" if process else "",
        str(attributes.get(ERROR, DIED if state == "failed" else "")),
        trial,
    )


def best_record(records: Sequence[Record], maximize: bool) -> Record | None:
    """Return the complete trial with the best score, or None.

    Of equal scores, the trial with the lower loss on the validation rows is taken, then the earliest trial.
    """
    complete = [record for record in records if record.state == "complete" and record.score is not None]
    sign = -1 if maximize else 1
    return min(complete, key=lambda record: _rank(record, sign), default=None)


def _rank(record: Record, sign: int) -> tuple[float, float, int]:
    # the mean over seeds of equal scores can differ in the last bits
    loss = record.results.get("metrics", {}).get("loss")
    return round(sign * (record.score or 0.0), 12), math.inf if loss is None else float(loss), record.number


def default_record(records: Sequence[Record]) -> Record | None:
    """Return the trial of the defaults, if it is complete."""
    return next((record for record in records if record.is_default and record.state == "complete"), None)


def experiment_log(records: Sequence[Record], paths: Sequence[str], metrics: Sequence[str]) -> str:
    """Return the text of experiment_log.csv, with one row per trial.

    Columns: trial, state, score, score_sd (over the seeds), the searched settings, the validation
    metrics (means over the seeds), epochs, kept_epoch, training_seconds, seconds, started, worker, error.

    Args:
        records: the trials.
        paths: the searched settings.
        metrics: names of the metrics.
    """
    tail = ("epochs", "kept_epoch", "training_seconds", "seconds", "started", "worker", "error")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["trial", "state", "score", "score_sd", *paths, *(f"val_{name}" for name in metrics), *tail])
    for record in records:
        results, found = record.results, record.results.get("metrics", {})
        writer.writerow(
            [
                record.number,
                record.state,
                _cell(record.score),
                _cell(float(np.std(record.scores, ddof=1)) if len(record.scores) > 1 else None),
                *(_cell(record.settings.get(path)) for path in paths),
                *(_cell(found.get(name)) for name in metrics),
                _cell(results.get("epochs")),
                _cell(results.get("kept_epoch")),
                _cell(results.get("training_seconds")),
                _cell(record.seconds),
                record.started.isoformat(timespec="seconds") if record.started else "",
                record.worker,
                " ".join(record.error.split()),
            ]
        )
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, bool) else value  # true, as in YAML
