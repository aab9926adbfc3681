"""Ctrl-C ends a search wherever it comes."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy
from optuna.storages._heartbeat import HeartbeatThread

from kerora.errors import Interrupted
from kerora.tuning.records import Record
from kerora.tuning.search import Observer, Search
from tests.tuning.test_study import Settings, log_rows, search

pytestmark = pytest.mark.usefixtures("unrendered_figures")


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


class Pressing(Observer):
    """Presses Ctrl-C in the middle of one of the transactions that write trials.

    Args:
        statement: after which writing statement, from 1.
    """

    def __init__(self, statement: int) -> None:
        self.left = statement

    def begin(self, search: Search) -> None:
        sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", self.press)

    def press(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith(("INSERT", "UPDATE")):
            return
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    def end(self) -> None:
        sqlalchemy.event.remove(sqlalchemy.Engine, "after_cursor_execute", self.press)


@pytest.mark.parametrize("statement", [1, 2, 3, 10, 18])
def test_ctrl_c_within_a_transaction_leaves_no_lock(settings: Settings, statement: int) -> None:
    """An interrupt inside SQLAlchemy keeps the lock of SQLite, and the next write waits a minute for it."""
    observer, started = Pressing(statement), time.monotonic()
    with pytest.raises(Interrupted, match="Interrupted after"):
        search(settings, observer=observer, trials=50)
    assert observer.left <= 0 and time.monotonic() - started < 40
    ended = sum(row["state"] == "complete" for row in log_rows())
    assert ended <= 3 and len(search(settings, trials=ended + 1).records) == ended + 1
