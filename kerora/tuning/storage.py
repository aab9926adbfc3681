"""The storage of trials. It also detects dead workers and queues their trials again."""

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
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from kerora.compat import trial_id
from kerora.errors import RunError
from kerora.places import expanded

BEAT_SECONDS, GRACE_SECONDS = 10, 60  # several heartbeats may be late, on a busy machine or a slow database
MOST_RETRIES = 3
"""How often the trial of a dead process is repeated. It is limited, because the trial itself may kill the process."""

RETRY_OF, RETRIES = "kerora:retry_of", "kerora:retries"
DEFAULTS, PROCESS, SURPLUS, ERROR = "defaults", "process", "surplus", "error"
_BEAT = "kerora:heartbeat"
_OPENING_TRIES = 3
_SQLITE, _JOURNAL = b"SQLite format 3\0", b'{"op_code"'
"""First bytes of a database file and of a journal."""
_SQLITE_ENDINGS = (".db", ".sqlite", ".sqlite3")


class HeartbeatJournal(JournalStorage, BaseHeartbeat):
    """Optuna's journal with heartbeats. Optuna itself has heartbeats only for databases.

    A heartbeat is the Unix time. The clocks of machines that share a journal must agree within the grace period.
    """

    def record_heartbeat(self, trial_id: int) -> None:
        """Record that the process of the trial is alive."""
        self.set_trial_system_attr(trial_id, _BEAT, time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        running = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        limit = time.time() - GRACE_SECONDS
        # a trial without a heartbeat is not stale: it may have started a moment ago
        return [trial_id(trial) for trial in running if trial.system_attrs.get(_BEAT, limit) < limit]

    def get_heartbeat_interval(self) -> int:
        """Return the seconds between two heartbeats."""
        return BEAT_SECONDS

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None]:
        """Return the function that is called for a trial without recent heartbeats."""
        return requeue


def open_storage(spec: str | None, folder: Path) -> BaseStorage:
    """Open a storage.

    Args:
        spec: a database URL, the path of an SQLite file or of a journal file, or None for ``study.db`` in `folder`. An
            existing file shows by its first bytes what it is. A new file is SQLite if its name ends in .db, .sqlite or
            .sqlite3, else a journal.
        folder: the folder of the study.

    Raises:
        RunError: the storage cannot be reached or written, or is another kind of file. The error does not show
            passwords.
    """
    url = storage_url(spec, folder)
    try:
        # a journal also works on network drives, where the locks of SQLite are not reliable
        if "://" not in url:
            return HeartbeatJournal(JournalFileBackend(url))
        return _database(with_driver(url))
    except ModuleNotFoundError as error:
        remedy = "Install it. For PostgreSQL: pip install 'psycopg[binary]'"
        raise RunError(f"The storage {shown(url)} needs the package {error.name}. {remedy}") from error
    except (SQLAlchemyError, ImportError, OSError, ValueError, RuntimeError) as error:
        raise RunError(f"The storage {shown(url)} cannot be opened: {_reason(error, url)}. Check --storage.") from error


def storage_url(spec: str | None, folder: Path) -> str:
    """Return the URL of a database, or the path of a journal file. See `open_storage` for the arguments and errors."""
    if spec is not None and "://" in spec:
        return spec
    path = folder / "study.db" if spec is None else expanded(spec)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        start = _first_bytes(path) if path.exists() else b""
    except OSError as error:
        raise RunError(f"The storage {path} cannot be opened: {error.strerror}. Check --storage.") from error
    is_new_database = not start and path.suffix.lower() in _SQLITE_ENDINGS
    if start.startswith(_SQLITE) or is_new_database:
        # `create` escapes characters of the path such as "?"
        return URL.create("sqlite", database=str(path)).render_as_string()
    if start and not start.startswith(_JOURNAL):
        remedy = "a new file for --storage" if spec else "another --study"
        raise RunError(f"The storage {path} is neither an SQLite database nor a journal of Optuna. Choose {remedy}.")
    return str(path)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_SQLITE))


def with_driver(url: str) -> str:
    """Return the URL of a database with the driver of PostgreSQL. Its default depends on the version of SQLAlchemy."""
    kind, mark, rest = url.partition("://")
    return f"postgresql+psycopg{mark}{rest}" if kind == "postgresql" else url


def _database(url: str) -> BaseStorage:
    # Seconds to wait for the lock of another worker: Python's default is 5. Servers close idle connections during long
    # trials, so pool_pre_ping tests a connection before use.
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
            # if two processes create the tables at the same moment, one of them gets an error and tries again
            if "already exists" not in str(error) or attempt == _OPENING_TRIES - 1:
                raise
            time.sleep(1)
    raise AssertionError("not reached")


def shown(url: str) -> str:
    """Return the URL of a storage without its password."""
    with contextlib.suppress(SQLAlchemyError):
        return make_url(url).render_as_string(hide_password=True) if "://" in url else url
    return url.partition("://")[0] + "://..."


def _reason(error: BaseException, url: str) -> str:
    original = getattr(error, "orig", None) or error.__cause__ or error
    text = " ".join(str(original).split())
    with contextlib.suppress(SQLAlchemyError):
        password = make_url(url).password if "://" in url else None
        # a driver may put the whole URL into its message
        text = text.replace(str(password), "***") if password else text
    return text.rstrip(".")


@contextlib.contextmanager
def storage_errors(spec: str | None, folder: Path) -> Iterator[None]:
    """Turn errors of the storage into one line.

    Raises:
        RunError: the storage can no longer be reached or written.
    """
    url = spec or str(folder / "study.db")
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise RunError(
            f"The storage {shown(url)} failed: {_reason(error, url)}. The same command continues the search."
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's warnings that heartbeats and groups are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def this_worker() -> dict[str, Any]:
    """Return host, process id and start time of this process. Others use them to tell whether it is alive."""
    return {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def release_dead(study: optuna.Study) -> None:
    """Mark the running trials of dead processes as failed, and queue them again. Call this between two trials.

    The process table shows dead processes of this machine at once. Other machines are checked by heartbeats.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_gone(trial):
            # another worker may have done the same just before
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                study.tell(trial.number, state=TrialState.FAIL)
                requeue(study, trial)
    with quiet():
        optuna.storages.fail_stale_trials(study)


def _is_gone(trial: FrozenTrial) -> bool:
    process = trial.user_attrs.get(PROCESS)
    if process is None:
        # the process was killed after it asked for the trial and before it recorded itself
        age = time.time() - (trial.datetime_start.timestamp() if trial.datetime_start else time.time())
        return age > GRACE_SECONDS
    if process["host"] != platform.node():
        return False
    if process["pid"] == os.getpid():
        return True  # this process is between two trials, so it does not train this one
    try:
        found = psutil.Process(process["pid"])
        # a killed process stays in the process table until its parent has asked for its exit code
        if found.status() == psutil.STATUS_ZOMBIE:
            return True
        # the start time too, because the system gives the ids of dead processes to new ones
        # 1 second: the start time is computed from the boot time, which the system may correct
        return abs(found.create_time() - process["started"]) > 1
    except psutil.NoSuchProcess:
        return True


def requeue(study: optuna.Study, trial: FrozenTrial, counts: bool = True) -> None:
    """Queue the settings of a trial again.

    Args:
        study: the study.
        trial: the trial that did not end.
        counts: whether this repeat counts for `MOST_RETRIES`. False if a person stopped the trial.
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
                # a fresh heartbeat, because the old one would make the new attempt stale at once
                **{key: value for key, value in trial.system_attrs.items() if key != _BEAT},
                RETRY_OF: trial.number,
                RETRIES: retries,
            },
        )
    )


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count, in the order of their first attempts.

    A repeated trial is represented by its latest attempt. A surplus trial does not count. It occurs if two
    processes ask for the last trial at the same moment.
    """
    origin: dict[int, int] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        earlier = trial.system_attrs.get(RETRY_OF)
        # an attempt may itself be a repeat: `origin` leads to the first one
        origin[trial.number] = trial.number if earlier is None else origin.get(int(earlier), int(earlier))
    latest = {origin[trial.number]: trial for trial in sorted(trials, key=lambda trial: trial.number)}
    return [latest[number] for number in sorted(latest) if not latest[number].user_attrs.get(SURPLUS)]
