"""Turn Ctrl-C and SIGTERM into a flag that training checks between updates."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class InterruptFlag:
    """Whether a signal asked for a stop, and which signal.

    Attributes:
        signal_number: the newest signal. 0 if no signal came.
        held: whether the first signal only raises the flag and does not interrupt at once.
    """

    signal_number: int = 0
    held: bool = False

    @property
    def raised(self) -> bool:
        """Whether a signal came."""
        return self.signal_number != 0

    def check(self) -> None:
        """Interrupt if a signal came, even if other code caught its `KeyboardInterrupt`.

        Raises:
            KeyboardInterrupt: the flag is raised.
        """
        if self.raised:
            raise KeyboardInterrupt

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Inside the block, let the first signal only raise the flag. Training then stops at a safe place.

        Raises:
            KeyboardInterrupt: at the end of the block, if the flag is raised and the block raised no other error.
        """
        self.held = True
        try:
            yield
        finally:
            self.held = False
        self.check()

    @contextmanager
    def release(self) -> Iterator[None]:
        """Inside a `hold` block, let signals interrupt at once again.

        Raises:
            KeyboardInterrupt: a signal came before the block.
        """
        # first release, then check: a signal between the two lines interrupts by itself
        self.held = False
        try:
            self.check()
            yield
        finally:
            self.held = True


@contextmanager
def interrupt_flag() -> Iterator[InterruptFlag]:
    """Record SIGINT and SIGTERM in a flag.

    They interrupt at once (`KeyboardInterrupt`), except for the first one inside `InterruptFlag.hold`. Python
    handles signals only in the main thread. In other threads the flag is never raised.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def note(number: int, frame: FrameType | None) -> None:
        # a second signal interrupts even inside `hold`: the person does not want to wait for a safe place
        at_once = flag.raised or not flag.held
        flag.signal_number = number
        if at_once:
            raise KeyboardInterrupt

    # restored at the end, because a script that calls `kerora.fit` may have handlers of its own
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
