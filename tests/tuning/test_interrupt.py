"""Ctrl-C ends a search wherever it comes."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence

import pytest
from optuna.storages._heartbeat import HeartbeatThread

from kerora.errors import Interrupted
from kerora.tuning.records import Record
from kerora.tuning.study import Observer
from tests.tuning.test_study import Settings, log_rows, search


class Deaf(Observer):
    """Presses Ctrl-C where a library takes every exception for its own failure."""

    def update(self, records: Sequence[Record]) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)


def test_ctrl_c_is_not_lost_where_its_exception_is_swallowed(settings: Settings) -> None:
    with pytest.raises(Interrupted, match="Interrupted after"):
        search(settings, observer=Deaf())
    assert len([row for row in log_rows() if row["state"] == "complete"]) <= 1


def test_ctrl_c_within_optuna_leaves_no_thread(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat's thread that nobody ends keeps the process from ending."""
    begin = HeartbeatThread.start

    def interrupted(heartbeat: HeartbeatThread) -> None:
        begin(heartbeat)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    monkeypatch.setattr(HeartbeatThread, "start", interrupted)
    threads = threading.active_count()
    with pytest.raises(Interrupted, match="Interrupted after"):
        search(settings)
    assert threading.active_count() == threads
