"""Where trials are kept, how it is noticed that a worker died, and how its trial is tried again."""

import contextlib
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from kerora.compat import trial_id
from kerora.errors import RunError

BEAT_SECONDS, GRACE_SECONDS = 10, 60
MOST_RETRIES = 3
"""How often the trial of a process that died is tried again: it may be the trial that kills it."""

RETRY_OF, RETRIES = "kerora:retry_of", "kerora:retries"
DEFAULTS, PROCESS, SURPLUS, ERROR = "defaults", "process", "surplus", "error"
_BEAT = "kerora:heartbeat"
_OPENING_TRIES = 3


class HeartbeatJournal(JournalStorage, BaseHeartbeat):
    """Optuna's journal with heartbeats, which its own has only for databases.

    A beat is the time of day: the clocks of machines that share a journal must agree within the grace period.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        """Note that the trial's process lives."""
        self.set_trial_system_attr(trial_id, _BEAT, time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        limit = time.time() - GRACE_SECONDS
        return [trial_id(trial) for trial in running if trial.system_attrs.get(_BEAT, limit) < limit]

    def get_heartbeat_interval(self) -> int:
        """Return the seconds between two beats."""
        return BEAT_SECONDS

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None]:
        """Return what is done with a trial whose beats ended."""
        return requeue


def open_storage(spec: str | None, folder: Path) -> BaseStorage:
    """Open a storage.

    Args:
        spec: a database URL, the path of a journal file, or None for ``study.db`` in `folder`.
        folder: the study's folder.

    Raises:
        RunError: it cannot be reached or written; passwords are not shown.
    """
    url = spec or f"sqlite:///{folder / 'study.db'}"
    try:
        if "://" not in url:
            Path(url).expanduser().parent.mkdir(parents=True, exist_ok=True)
            return HeartbeatJournal(JournalFileBackend(str(Path(url).expanduser())))
        return _database(with_driver(url))
    except ModuleNotFoundError as error:
        remedy = "Install it; PostgreSQL's comes with: pip install 'kerora[postgresql]'"
        raise RunError(f"The storage {shown(url)} needs the package {error.name}. {remedy}") from error
    except (SQLAlchemyError, ImportError, OSError, ValueError, RuntimeError) as error:
        raise RunError(f"The storage {shown(url)} cannot be opened: {_reason(error, url)}. Check --storage.") from error


def with_driver(url: str) -> str:
    """Return a database's address with PostgreSQL's driver named, whose default depends on SQLAlchemy's version."""
    kind, mark, rest = url.partition("://")
    return f"postgresql+psycopg{mark}{rest}" if kind == "postgresql" else url


def _database(url: str) -> BaseStorage:
    arguments: dict[str, Any] = {"connect_args": {"timeout": GRACE_SECONDS}} if url.startswith("sqlite") else {}
    for attempt in range(_OPENING_TRIES):
        try:
            with quiet():
                return RDBStorage(
                    url,
                    engine_kwargs=arguments or {"pool_pre_ping": True},
                    heartbeat_interval=BEAT_SECONDS,
                    grace_period=GRACE_SECONDS,
                    heartbeat_stale_trial_callback=requeue,
                )
        except SQLAlchemyError as error:
            # two processes that make the tables at the same moment: one of them is refused
            if "already exists" not in str(error) or attempt == _OPENING_TRIES - 1:
                raise
            time.sleep(1)
    raise AssertionError("not reached")


def shown(url: str) -> str:
    """Return a storage's address without its password."""
    with contextlib.suppress(SQLAlchemyError):
        return make_url(url).render_as_string(hide_password=True) if "://" in url else url
    return url.partition("://")[0] + "://..."


def _reason(error: BaseException, url: str) -> str:
    original = getattr(error, "orig", None) or error.__cause__ or error
    text = " ".join(str(original).split())
    with contextlib.suppress(SQLAlchemyError):
        password = make_url(url).password if "://" in url else None
        text = text.replace(str(password), "***") if password else text
    return text.rstrip(".")


@contextlib.contextmanager
def storage_errors(spec: str | None, folder: Path) -> Iterator[None]:
    """Turn the storage's errors into one line.

    Raises:
        RunError: the storage cannot be reached any more, or cannot be written.
    """
    url = spec or f"sqlite:///{folder / 'study.db'}"
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise RunError(
            f"The storage {shown(url)} failed: {_reason(error, url)}. The same command goes on where it stopped."
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's notes that heartbeats and groups are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def this_worker() -> dict[str, Any]:
    """Name this process, so that others can tell whether it still lives."""
    return {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def release_dead(study: optuna.Study) -> None:
    """Give up the running trials whose processes are gone, and queue them again; for use between two trials.

    A process of this machine is known to be gone at once; others are by their heartbeats.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_gone(trial):
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                study.tell(trial.number, state=TrialState.FAIL)
                requeue(study, trial)
    with quiet():
        optuna.storages.fail_stale_trials(study)


def _is_gone(trial: FrozenTrial) -> bool:
    process = trial.user_attrs.get(PROCESS)
    if process is None:
        # killed between being asked for and its first beat
        age = time.time() - (trial.datetime_start.timestamp() if trial.datetime_start else time.time())
        return age > GRACE_SECONDS
    if process["host"] != platform.node():
        return False
    if process["pid"] == os.getpid():
        return True  # this process is between two trials: that one was lost
    try:
        return abs(psutil.Process(process["pid"]).create_time() - process["started"]) > 1
    except psutil.NoSuchProcess:
        return True


def requeue(study: optuna.Study, trial: FrozenTrial, counts: bool = True) -> None:
    """Queue a trial's settings again.

    Args:
        study: the study.
        trial: the trial that did not end.
        counts: whether it is one of the `MOST_RETRIES`; False when a person stopped it.
    """
    retries = int(trial.system_attrs.get(RETRIES, 0)) + counts
    if retries > MOST_RETRIES:
        return
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={DEFAULTS: True} if trial.user_attrs.get(DEFAULTS) else {},
            system_attrs={
                **{key: value for key, value in trial.system_attrs.items() if key != _BEAT},
                RETRY_OF: trial.number,
                RETRIES: retries,
            },
        )
    )


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count, in the order in which they were first asked for.

    A trial that was queued again is represented by its latest attempt; one too many, which two
    processes can ask for at the same moment, does not count.
    """
    origin: dict[int, int] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        earlier = trial.system_attrs.get(RETRY_OF)
        origin[trial.number] = trial.number if earlier is None else origin.get(int(earlier), int(earlier))
    latest = {origin[trial.number]: trial for trial in sorted(trials, key=lambda trial: trial.number)}
    return [latest[number] for number in sorted(latest) if not latest[number].user_attrs.get(SURPLUS)]
