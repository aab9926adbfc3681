"""Worker processes: what starts them ends them, also when only some of them started."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kerora.settings.tune import TuneConfig
from kerora.training.interrupt import InterruptFlag
from kerora.tuning import runner
from kerora.tuning.space import load_space
from kerora.tuning.study import _most_epochs


class Job:
    """A job whose text does not matter, because the processes of the test do not read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def to_json(self) -> str:
        return "{}"


def wait_for_output(log: Path) -> None:
    deadline = time.monotonic() + 60
    while not log.stat().st_size and time.monotonic() < deadline:
        time.sleep(0.02)


def test_workers_that_started_end_when_a_later_one_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if started:
            wait_for_output(tmp_path / "worker-1.log")
            raise OSError(12, "Cannot allocate memory")
        # a shell that starts the tests in the background makes them ignore SIGINT, and so does what they start
        code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print('up', flush=True)"
        started.append(start([sys.executable, "-S", "-c", f"{code}; time.sleep(100)"], **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", popen)
    job: Any = Job(tmp_path)
    with pytest.raises(OSError, match="Cannot allocate memory"), runner.Workers(job, 2):
        pytest.fail("the search began without its workers")
    assert started[0].poll() == -signal.SIGINT


def test_every_worker_that_ended_leaves_the_process_table_while_another_one_works(tmp_path: Path) -> None:
    workers = runner.Workers(Job(tmp_path), 2)  # type: ignore[arg-type]
    commands = ("import sys; sys.stdin.read()", "")
    workers.processes = [
        subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE) for code in commands
    ]

    def shown() -> None:
        if workers.processes[1].returncode is not None and workers.processes[0].stdin:
            workers.processes[0].stdin.close()

    workers.wait(shown, InterruptFlag())
    assert [process.returncode for process in workers.processes] == [0, 0]


@pytest.mark.parametrize(("values", "most"), [([None], 7), ([None, 9], 9), ([2, 3], 7), ({"low": 1, "high": 30}, 30)])
def test_the_longest_training_of_a_space(values: Any, most: int) -> None:
    settled = SimpleNamespace(training=SimpleNamespace(epochs=7))
    bench = SimpleNamespace(config=None, settled=lambda config: settled)
    search: Any = SimpleNamespace(space=load_space({"training.epochs": values}), bench=bench, settings=TuneConfig())
    assert _most_epochs(search) == most
