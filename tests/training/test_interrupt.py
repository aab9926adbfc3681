"""Signals: at once, held until an update is done, released again, and handlers that are put back."""

import os
import signal
import threading
from collections.abc import Callable

import pytest

from kerora.training.interrupt import InterruptFlag, interrupt_flag

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@BOTH
def test_a_signal_interrupts_at_once_and_is_noted(number: int) -> None:
    with interrupt_flag() as flag:
        with pytest.raises(KeyboardInterrupt):
            send(number)
        assert flag.raised and flag.signal_number == number


@BOTH
def test_a_held_signal_waits_for_the_end_of_the_block(number: int) -> None:
    done = []
    with interrupt_flag() as flag:
        with pytest.raises(KeyboardInterrupt):
            with flag.hold():
                send(number)
                done.append(flag.signal_number)
            done.append(0)  # not reached
        assert done == [number] and not flag.held


def test_the_second_signal_interrupts_a_held_block() -> None:
    done = []
    with interrupt_flag() as flag:
        with pytest.raises(KeyboardInterrupt):
            with flag.hold():
                send(signal.SIGINT)
                done.append("first")
                send(signal.SIGTERM)
                done.append("second")
        assert done == ["first"] and flag.signal_number == signal.SIGTERM


def test_an_exception_of_the_held_block_is_not_hidden_by_the_flag() -> None:
    flag = InterruptFlag()
    with pytest.raises(ValueError, match="own"):
        with flag.hold():
            flag.signal_number = signal.SIGINT
            raise ValueError("own")
    assert not flag.held and flag.raised


def test_signals_interrupt_again_inside_release_and_are_held_after_it() -> None:
    done = []
    with interrupt_flag() as flag:
        with pytest.raises(KeyboardInterrupt):
            with flag.hold():
                with pytest.raises(KeyboardInterrupt):
                    with flag.release():
                        send(signal.SIGINT)
                        done.append("inside")
                assert flag.held
                done.append("after")
    assert done == ["after"]


def test_release_does_not_begin_where_a_signal_came_before() -> None:
    flag, done = InterruptFlag(signal_number=signal.SIGTERM), []
    with pytest.raises(KeyboardInterrupt):
        with flag.release():
            done.append("inside")
    assert not done and flag.held


@pytest.mark.parametrize("leave", [lambda: None, lambda: send(signal.SIGINT)])
def test_the_handlers_of_before_are_put_back(leave: Callable[[], None]) -> None:
    mine = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: mine.append(number))
    try:
        interrupts = signal.getsignal(signal.SIGINT)
        try:
            with interrupt_flag():
                assert signal.getsignal(signal.SIGINT) is not interrupts
                leave()
        except KeyboardInterrupt:
            pass
        assert signal.getsignal(signal.SIGINT) is interrupts
        send(signal.SIGTERM)
        assert mine == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_gets_a_flag_that_stays_down_and_leaves_the_handlers() -> None:
    found = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with interrupt_flag() as flag, flag.hold():
            found.append((flag.raised, signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, True)]
