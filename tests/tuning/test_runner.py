"""Worker processes: what starts them ends them, also when only some of them started."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kerora.settings.tune import TuneConfig
from kerora.tuning import runner
from kerora.tuning.space import load_space
from kerora.tuning.study import _most_epochs


class Job:
    """A job whose text does not matter, because the processes of the test do not read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def to_json(self) -> str:
        return "{}"


def test_workers_that_started_end_when_a_later_one_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if started:
            raise OSError(12, "Cannot allocate memory")
        started.append(start([sys.executable, "-c", "import time; time.sleep(100)"], **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", popen)
    job: Any = Job(tmp_path)
    with pytest.raises(OSError, match="Cannot allocate memory"), runner.Workers(job, 2):
        pytest.fail("the search began without its workers")
    assert started[0].poll() is not None


@pytest.mark.parametrize(("values", "most"), [([None], 7), ([None, 9], 9), ([2, 3], 7), ({"low": 1, "high": 30}, 30)])
def test_the_longest_training_of_a_space(values: Any, most: int) -> None:
    settled = SimpleNamespace(training=SimpleNamespace(epochs=7))
    bench = SimpleNamespace(config=None, settled=lambda config: settled)
    search: Any = SimpleNamespace(space=load_space({"training.epochs": values}), bench=bench, settings=TuneConfig())
    assert _most_epochs(search) == most
