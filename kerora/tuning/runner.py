"""Runs trials until a study has enough of them, in this process or in several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import optuna
from optuna.trial import TrialState

from kerora.errors import AS_WRITTEN, TrainingError, is_as_written
from kerora.settings.fit import FitConfig
from kerora.settings.resolve import to_dict
from kerora.settings.tune import TuneConfig
from kerora.training.interrupt import InterruptFlag
from kerora.tuning.objective import TrialFailed
from kerora.tuning.space import Space
from kerora.tuning.storage import counted, release_dead

IDLE_SECONDS = 0.5
STOP_SECONDS = 30.0
PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])  # the folder that holds the package kerora


def run_trials(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    trials: int,
    deadline: float | None,
    shown: Callable[[], None],
    flag: InterruptFlag,
) -> None:
    """Run trials until the study has `trials` of them and no trial is running, or until the deadline.

    Use this inside `InterruptFlag.hold`. An interrupt inside the code of Optuna would leave a heartbeat thread behind.
    An interrupt inside a database call would leave an open transaction, and every later call would wait for it. Only
    training is interrupted at once.

    Args:
        study: the study.
        objective: trains one trial.
        trials: number of trials of the whole study.
        deadline: Unix time in seconds after which no trial starts, or None.
        shown: called after each trial and while waiting, for a live table.
        flag: records signals.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    # Unix time and not a monotonic clock, because the workers get the same deadline
    while deadline is None or time.time() < deadline:
        flag.check()
        release_dead(study)
        found = counted(study.get_trials(deepcopy=False))
        if len(found) < trials or any(trial.state == TrialState.WAITING for trial in found[:trials]):
            _run_one(study, objective)
            shown()
        elif any(trial.state == TrialState.RUNNING for trial in found):
            # another worker trains the last trial: if that process dies, this one repeats the trial
            shown()
            time.sleep(IDLE_SECONDS)
        else:
            return


def _run_one(study: optuna.Study, objective: Callable[[optuna.Trial], float]) -> None:
    try:
        # one at a time, so that dead workers, the deadline and signals are checked between two trials
        study.optimize(objective, n_trials=1, catch=(TrialFailed,))
    except (ValueError, AssertionError) as error:
        # This process was so slow that others took it for dead and queued the trial again. Their result counts. Optuna
        # may hide this error behind a failed assertion.
        if not any(str(one).startswith("Cannot tell a FAIL trial") for one in (error, error.__context__)):
            raise


@dataclass(frozen=True)
class Job:
    """The job of a worker process.

    Attributes:
        config: the settings of every trial that are not searched.
        settings: the settled settings of the search: name, storage and trials.
        space: the search space.
        folder: the folder of the study.
        most_epochs: largest number of epochs that the space allows.
        deadline: Unix time in seconds after which no trial starts, or None.
    """

    config: FitConfig
    settings: TuneConfig
    space: Space
    folder: Path
    most_epochs: int
    deadline: float | None

    def to_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(
            {
                "config": to_dict(self.config),
                "settings": to_dict(self.settings),
                "space": self.space.as_dict(),
                "folder": str(self.folder),
                "most_epochs": self.most_epochs,
                "deadline": self.deadline,
            }
        )


class Workers:
    """Worker processes. They end when this process ends.

    Each worker reads its job from its standard input. When this process ends, the input closes, and the worker stops.

    Args:
        job: the job of every worker.
        count: number of workers.
    """

    def __init__(self, job: Job, count: int) -> None:
        self._logs: list[IO[bytes]] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._job = job
        self._count = count

    def __enter__(self) -> "Workers":
        cores = os.cpu_count() or 1
        # torch takes all cores by default, so the workers would slow each other down
        environment = {"OMP_NUM_THREADS": str(max(1, cores // self._count)), **os.environ}
        # so that the workers import the same Kerora as this process
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (PACKAGE_PARENT, os.environ.get("PYTHONPATH"))))
        try:
            self._start(environment)
        except BaseException:
            # Python does not call __exit__ if __enter__ fails, and the first workers may train already
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self, environment: dict[str, str]) -> None:
        for number in range(1, self._count + 1):
            # a file and not a pipe: nobody reads during the search, and a full pipe would block the worker
            log = open(self._job.folder / f"worker-{number}.log", "wb")  # noqa: SIM115  (closed in __exit__)
            process = subprocess.Popen(
                [sys.executable, "-m", "kerora.tuning.worker", *([AS_WRITTEN] if is_as_written() else [])],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                # Ctrl-C in the terminal then reaches only this process, and this process stops the workers
                start_new_session=True,
            )
            self._logs.append(log)
            self.processes.append(process)
            assert process.stdin is not None
            # the input stays open: its end tells the worker that this process has ended
            process.stdin.write((self._job.to_json() + "\n").encode())
            process.stdin.flush()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self.processes:
            if process.poll() is None:
                # not SIGKILL: the worker queues its trial again first
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        for process, log in zip(self.processes, self._logs, strict=True):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()
            if process.stdin is not None:
                process.stdin.close()
            path = Path(str(log.name))
            # the log of a worker that was stopped on purpose, perhaps in the middle of an import, does not help
            if process.returncode == 0 or kind is KeyboardInterrupt or not path.stat().st_size:
                path.unlink(missing_ok=True)

    def wait(self, shown: Callable[[], None], flag: InterruptFlag) -> None:
        """Wait until all workers have ended. Use this inside `InterruptFlag.hold`, because `shown` reads the storage.

        Raises:
            KeyboardInterrupt: a signal came.
            TrainingError: all workers failed.
        """
        # a list, so that every process is polled: a killed worker is a zombie until then
        while None in [process.poll() for process in self.processes]:
            flag.check()
            shown()
            time.sleep(IDLE_SECONDS)
        codes = [process.returncode for process in self.processes]
        # one worker is enough: it repeats the trials of the others
        if all(codes):
            raise TrainingError(f"All {len(codes)} workers failed. The first error: {self._last_words(codes)}")

    def _last_words(self, codes: Sequence[int]) -> str:
        for log, code in zip(self._logs, codes, strict=True):
            log.flush()
            lines = Path(str(log.name)).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if lines:
                return lines[-1].removeprefix("Error: ")
            if code < 0:
                return f"killed by signal {-code}. Is there enough memory for {self._count} workers?"
        return f"exit code {codes[0]}."


def parse_job(line: str) -> dict[str, Any]:
    """Read the line that `Job.to_json` wrote."""
    content: dict[str, Any] = json.loads(line)
    return content
