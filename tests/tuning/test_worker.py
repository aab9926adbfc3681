"""A worker process, without its process: exit codes, its one line, changed data, and the end of its parent."""

import _thread
import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from kerora.config import resolve, to_dict
from kerora.errors import KeroraError, RunError
from kerora.settings.tune import TuneConfig
from kerora.tuning import work, worker
from kerora.tuning.identity import IDENTITY, identity
from kerora.tuning.space import load_space
from kerora.tuning.storage import open_storage

SPACE = {"lora.rank": [2, 4]}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the worker from ending pytest when its standard input ends, and put its signal handlers back."""
    monkeypatch.setattr(worker, "_end_with_parent", lambda: None)
    monkeypatch.setattr("sys.stdin", io.StringIO("the job\nmore"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    verbosity = optuna.logging.get_verbosity()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    optuna.logging.set_verbosity(verbosity)


def raising(error: BaseException) -> Any:
    def fail(line: str) -> None:
        raise error

    return fail


def test_the_job_is_the_first_line_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(work, "work", seen.append)
    assert worker.main() == 0 and seen == ["the job\n"]


def test_a_fault_of_the_user_is_one_line_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(work, "work", raising(RunError("The storage is gone. Check --storage.")))
    assert worker.main() == 2
    assert capsys.readouterr() == ("", "Error: The storage is gone. Check --storage.\n")


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(work, "work", raising(KeyboardInterrupt()))
    assert worker.main() == 130 and capsys.readouterr() == ("", "")


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "work", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        worker.main()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    # as a shell leaves it for what it starts in the background
    signal.signal(number, signal.SIG_IGN)
    monkeypatch.setattr(work, "work", lambda line: signal.raise_signal(number))
    assert worker.main() == 130


def test_it_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    ends: list[str] = []
    stdin = io.StringIO("never read before the end")
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr(_thread, "interrupt_main", lambda: ends.append(stdin.read()))
    worker._end_with_parent()
    assert ends == [""]  # it was called once, with nothing left to read


class Bench:
    """A workbench that trains nothing."""

    sha256 = "d" * 64

    def __init__(self, config: Any) -> None:
        self.config = config
        self.data = SimpleNamespace(fingerprints=lambda: {"train": {"sha256": self.sha256}})
        self.preset = SimpleNamespace(fingerprint="b" * 64)

    def settled(self, config: Any) -> Any:
        return config


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(work, "Workbench", Bench)
    settings = {"study": "s", "storage": str(tmp_path / "journal.log"), "trials": 7}
    config = resolve()
    study = optuna.create_study(study_name="s", storage=open_storage(settings["storage"], tmp_path))
    known: Any = Bench(config)
    study.set_user_attr(IDENTITY, identity(known, load_space(SPACE), TuneConfig(**settings)))
    content = {
        "settings": settings, "space": SPACE, "folder": str(tmp_path), "config": to_dict(config), "most_epochs": 3,
        "deadline": 12.5,
    }  # fmt: skip
    return json.dumps(content) + "\n"


def test_the_trials_of_the_job_are_run_on_its_study(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def run_trials(study: Any, objective: Any, trials: int, deadline: float, shown: Any, flag: Any) -> None:
        seen.update(study=study.study_name, trials=trials, deadline=deadline, held=flag.held, objective=objective)

    monkeypatch.setattr(work, "run_trials", run_trials)
    monkeypatch.setattr(work, "Objective", lambda bench, space, settings, defaults, shown, flag, logs: defaults)
    work.work(job)
    assert seen == {"study": "s", "trials": 7, "deadline": 12.5, "held": True, "objective": {"lora.rank": 8}}


def test_data_that_changed_while_the_search_began_end_it(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bench, "sha256", "e" * 64)
    monkeypatch.setattr(work, "run_trials", lambda *_: pytest.fail("a trial was run"))
    with pytest.raises(KeroraError) as caught:
        work.work(job)
    assert str(caught.value) == (
        "The data or the settings changed while the search began: data train was dddddddddddddddd, is eeeeeeeeeeeeeeee."
    )
