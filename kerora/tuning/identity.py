"""The identity of a study: its space, data, base model and fixed settings."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import optuna

from kerora.errors import ConfigError, RunError, nearest
from kerora.evaluation.comparison import flatten_settings
from kerora.evaluation.directions import is_lower_better
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import to_dict
from kerora.settings.tune import TuneConfig
from kerora.tasks.registry import Task
from kerora.tuning.space import Space, Value
from kerora.tuning.storage import DEFAULTS
from kerora.tuning.workbench import Workbench

IDENTITY = "kerora"
MOST_DIFFERENCES = 3
_WAIT_SECONDS = 10.0
# These change no score. The base model is compared by its fingerprint, because its path may differ between machines.
_FREE = (
    *("run", "runs_dir", "log", "model.preset"),
    *("training.save_steps", "training.evaluation_batch_size", "training.baseline"),
)


def is_maximized(task: Task, metric: str) -> bool:
    """Tell whether a higher value of the metric is better.

    Raises:
        ConfigError: the task has no such metric.
    """
    known = task.search.METRICS
    if metric not in known:
        raise ConfigError(
            f"The task {task.name} has no metric '{metric}'.{nearest(metric, known)} It has: {', '.join(known)}."
        )
    return not is_lower_better(metric)


def identity(bench: Workbench, space: Space, settings: TuneConfig) -> dict[str, Any]:
    """Return the values that must not change when a study is continued, as plain values."""
    fixed = dict(flatten_settings(to_dict(bench.config)))
    searched = {parameter.path for parameter in space.parameters}
    return {
        "space": space.as_dict(),
        # sixteen hex digits, so that an error message can show them
        "data": {split: facts["sha256"][:16] for split, facts in bench.data.fingerprints().items()},
        "base model": bench.preset.fingerprint[:16],
        "metric": settings.metric,
        "repeats": settings.repeats,
        "settings": {
            path: value
            for path, value in fixed.items()
            # the rows are compared by their checksums: the same rows may lie in another file
            if path not in (*_FREE, *searched) and not path.startswith("data.")
        },
        # the first trial, with which the report compares the best one
        "defaults": {path: value for path, value in fixed.items() if path in searched},
    }


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    wanted: Mapping[str, Any],
    enqueued: Mapping[str, Value],
    maximize: bool,
    **parts: Any,
) -> optuna.Study:
    """Create a study whose first trial is the defaults, or open the existing study.

    Args:
        storage: the storage of the study.
        name: the name of the study.
        wanted: the `identity` of the study.
        enqueued: values of the first trial that the space can propose.
        maximize: whether a higher value of the metric is better.
        parts: sampler and pruner.

    Raises:
        RunError: a study with this name has another space, data, base model or setting. The error names the difference.
    """
    direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=direction, **parts)
    # create first, then load: a check before would leave a moment in which another process creates the study
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, **parts)
        found = _wait_for_identity(study)
        if found is not None:
            _check_same(name, found, wanted)
            return study
        if study.get_trials(deepcopy=False):
            raise RunError(
                f"The storage holds a study '{name}' that Kerora did not make. Choose another --study."
            ) from None
        # the process that created the study ended before it wrote the identity, so this one completes the study
    # the identity comes last: other processes take it as the sign that the study is complete
    # a mark of its own, because a trial of the sampler could have the same values by chance
    study.enqueue_trial(dict(enqueued), user_attrs={DEFAULTS: True})
    study.set_user_attr(IDENTITY, dict(wanted))
    return study


def _wait_for_identity(study: optuna.Study) -> dict[str, Any] | None:
    """Return the identity of a study. Wait for it, because another process may create the study at this moment."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        found: dict[str, Any] | None = study.user_attrs.get(IDENTITY)
        # a study of Kerora has one trial, the queued defaults, before its identity is written
        foreign = len(study.get_trials(deepcopy=False)) > 1
        if found is not None or foreign or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _check_same(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    found = list(changed(then, now))
    if found:
        more = f" and {len(found) - MOST_DIFFERENCES} more" if len(found) > MOST_DIFFERENCES else ""
        raise RunError(
            f"The study '{name}' was started with other settings: {'; '.join(found[:MOST_DIFFERENCES])}{more}. "
            "Choose another --study, or restore the settings."
        )


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what changed since a study was started, as text.

    Args:
        then: the identity in the storage. A setting that is younger than the study had its default.
        now: the identity of the same study today.
    """
    defaults = dict(flatten_settings(to_dict(FitConfig())))
    settings = {path: defaults[path] for path in now["settings"] if path in defaults} | then["settings"]
    return differences({**then, "settings": settings}, now)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences between two identities as text."""
    for part in dict.fromkeys((*then, *now)):
        old, new = then.get(part), now.get(part)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            for key in dict.fromkeys((*old, *new)):
                if old.get(key) != new.get(key):
                    yield f"{part} {key} was {_short(old, key)}, is {_short(new, key)}"
        else:
            yield f"{part} was {old}, is {new}"


def _short(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "not there"
    value = values[key]
    # a list of choices is shown as in the file of the space
    if isinstance(value, Mapping) and set(value) == {"choices"}:
        value = value["choices"]
    text = str(value).replace("'", "")
    return text if len(text) <= 80 else text[:79] + "…"
