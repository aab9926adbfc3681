"""Searches whose processes are killed: what they trained is tried again, by the same command or by other workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from kerora.errors import RunError
from kerora.training.interrupt import InterruptFlag
from kerora.tuning.records import Record, read_records
from kerora.tuning.runner import run_trials
from kerora.tuning.search import Observer
from kerora.tuning.storage import (
    BEAT_SECONDS,
    GRACE_SECONDS,
    MOST_RETRIES,
    open_storage,
    release_dead,
    requeue,
    this_worker,
)
from tests.conftest import ROOT
from tests.postgresql import postgresql  # noqa: F401  (a fixture)
from tests.tuning.conftest import SPACE, short_fit
from tests.tuning.test_study import Settings, log_rows, proposals, search

pytestmark = pytest.mark.usefixtures("unrendered_figures")
EPOCHS = 8  # of a trial that is long enough to be killed in its middle


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Path) -> list[Any]:
    """What a search of five trials proposes that nobody stops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("undisturbed"))
        return proposals(search(short_fit(tiny_preset), trials=5))


@pytest.mark.slow
@pytest.mark.parametrize("storage", [None, "shared.journal", "postgresql"])
def test_a_killed_search_goes_on_and_its_trial_is_tried_again(
    settings: Settings, storage: str | None, undisturbed: list[Any], request: pytest.FixtureRequest
) -> None:
    if storage == "postgresql":
        storage = request.getfixturevalue("postgresql")
    kill_within_a_trial(settings, trials=5, storage=storage)
    result = search(settings, trials=5, storage=storage)
    assert len(result.records) == 5 and all(record.state == "complete" for record in result.records)
    retried = [record for record in result.records if "kerora:retry_of" in record.trial.system_attrs]
    assert len(retried) == 1
    assert proposals(result) == undisturbed


def kill_within_a_trial(settings: Settings, storage: str | None, **options: Any) -> None:
    """Kill a search while a trial runs; again where the trial ended between the look at it and the kill."""
    for ended in (2, 3, 4):
        process = start(settings, storage=storage, **options)
        wait_for(process, RunningAfter(ended, storage))
        process.kill()
        process.wait()
        if any(record.state == "running" for record in recorded(storage)):
            return
    pytest.fail("no trial was running when the search was killed")


def recorded(storage: str | None) -> list[Record]:
    return read_records(optuna.load_study(study_name="one", storage=open_storage(storage, Path("studies/one"))))


class RunningAfter:
    """Whether a trial runs after so many have ended. The storage is opened once: that takes as long as a trial."""

    def __init__(self, ended: int, storage: str | None) -> None:
        self.ended = ended
        self.storage = storage
        self.study: optuna.Study | None = None

    def __call__(self) -> bool:
        if self.study is None:
            try:
                storage = open_storage(self.storage, Path("studies/one"))
                self.study = optuna.load_study(study_name="one", storage=storage)
            except (KeyError, RunError):
                return False
        records = read_records(self.study)
        return sum(record.ended for record in records) >= self.ended and any(
            record.epoch for record in records[self.ended :]
        )


def start(settings: Settings, **options: Any) -> subprocess.Popen[str]:
    """Search in a process of its own."""
    code = (
        "from kerora.fast.lean_import import import_keras_lean\nimport_keras_lean()\n"
        "import json, sys\nfrom kerora.config import resolve\nfrom kerora.config import TuneConfig\n"
        "from kerora.tuning.study import tune\nsettings, options, space = json.loads(sys.argv[1])\n"
        "tune(resolve(settings), TuneConfig(study='one', pruner='none', **options), space=space)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = json.dumps([settings, options, SPACE])
    return subprocess.Popen([sys.executable, "-c", code, arguments], env=environment, text=True, stderr=subprocess.PIPE)


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("storage", [None, "postgresql"])
def test_two_workers_share_a_study_and_one_takes_over_when_the_other_is_killed(
    settings: Settings, storage: str | None, request: pytest.FixtureRequest
) -> None:
    if storage == "postgresql":
        storage = request.getfixturevalue("postgresql")
    killed: list[int] = []

    class Killer(Observer):
        def update(self, records: Sequence[Record]) -> None:
            # In the middle of a trial. Others wait a minute for a process that ends before it has noted its next trial.
            running = [record for record in records if record.state == "running" and 0 < record.epoch < EPOCHS - 2]
            if not killed and len({record.worker for record in records if record.worker}) == 2 and running:
                killed.append(int(running[0].worker.rpartition(":")[2]))
                os.kill(killed[0], signal.SIGKILL)

    slow = {**settings, "training.epochs": EPOCHS, "training.early_stopping": False}
    result = search(slow, trials=5, workers=2, storage=storage, observer=Killer())
    assert killed and len(result.records) == 5
    assert all(record.state == "complete" for record in result.records)
    assert sum("kerora:retry_of" in record.trial.system_attrs for record in result.records) == 1
    assert result.records[-1].worker.rpartition(":")[2] != str(killed[0])
    assert [row["state"] for row in log_rows()] == ["complete"] * 5


def test_a_dead_process_that_is_not_of_this_machine_is_noticed_by_its_heartbeat(settings: Settings) -> None:
    search(settings, trials=2, storage="beats.journal")
    storage = open_storage("beats.journal", Path("studies/one"))
    study = optuna.load_study(study_name="one", storage=storage)
    trial = study.ask()
    trial.set_user_attr("process", {"host": "elsewhere", "pid": 1, "started": 0.0})
    storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    release_dead(study)
    assert read_records(study)[-1].state == "running"
    storage.set_trial_system_attr(trial._trial_id, "kerora:heartbeat", time.time() - GRACE_SECONDS - BEAT_SECONDS)
    release_dead(study)
    assert read_records(study)[-1].state == "waiting" and len(read_records(study)) == 3
    assert len(search(settings, trials=3, storage="beats.journal").records) == 3


def test_a_trial_that_always_kills_its_process_is_given_up() -> None:
    study = optuna.create_study()
    for _ in range(MOST_RETRIES + 1):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        requeue(study, study.trials[trial.number])
    assert [record.state for record in read_records(study)] == ["failed"]
    assert "process of the trial ended" in read_records(study)[0].error
    assert len({str(trial.params) for trial in study.trials}) == 1


def test_a_trial_that_others_gave_up_meanwhile_is_left_to_them(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path)
    study = optuna.create_study(storage=storage, study_name="one")
    slow: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        value = trial.suggest_float("x", 0, 1)
        if not slow:
            slow.append(trial.number)
            other = optuna.load_study(study_name="one", storage=open_storage(None, tmp_path))
            other.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            requeue(other, other.trials[trial.number])
        return value

    run_trials(study, objective, 2, None, lambda: None, InterruptFlag())
    assert [record.state for record in read_records(study)] == ["complete"] * 2 and len(study.trials) == 3


def test_a_trial_that_this_very_process_lost_is_tried_again() -> None:
    study = optuna.create_study()
    study.ask().set_user_attr("process", this_worker())
    release_dead(study)
    assert [record.state for record in read_records(study)] == ["waiting"]


def test_a_trial_of_a_killed_process_that_its_parent_has_not_asked_for_is_tried_again() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    worker = {**this_worker(), "pid": process.pid, "started": psutil.Process(process.pid).create_time()}
    study = optuna.create_study()
    study.ask().set_user_attr("process", worker)
    release_dead(study)
    assert [record.state for record in read_records(study)] == ["running"]
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    release_dead(study)
    assert [record.state for record in read_records(study)] == ["waiting"]
    process.communicate()
