"""Turn Ctrl-C and SIGTERM into a flag that training looks at between updates."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class InterruptFlag:
    """Whether a signal asked for a stop, and which.

    Attributes:
        signal_number: the newest signal; 0 while none came.
        held: whether signals wait for someone to look at the flag.
    """

    signal_number: int = 0
    held: bool = False

    @property
    def raised(self) -> bool:
        """Whether a signal came."""
        return self.signal_number != 0

    def check(self) -> None:
        """Interrupt where a signal came, even one whose exception somebody took for a failure of their own.

        Raises:
            KeyboardInterrupt: the flag is raised.
        """
        if self.raised:
            raise KeyboardInterrupt

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Inside the block the first signal only raises the flag, for a stop at a place of our own choice.

        Raises:
            KeyboardInterrupt: at the block's end, when the flag was raised and nobody acted on it.
        """
        self.held = True
        try:
            yield
        finally:
            self.held = False
        self.check()

    @contextmanager
    def release(self) -> Iterator[None]:
        """Inside the block, which lies within `hold`, signals interrupt at once again.

        Raises:
            KeyboardInterrupt: one came before the block.
        """
        self.held = False
        try:
            self.check()
            yield
        finally:
            self.held = True


@contextmanager
def interrupt_flag() -> Iterator[InterruptFlag]:
    """Note SIGINT and SIGTERM in a flag.

    They interrupt at once (`KeyboardInterrupt`), except for the first one inside `InterruptFlag.hold`.
    Outside the main thread, where Python takes no signals, the flag is never raised.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def note(number: int, frame: FrameType | None) -> None:
        at_once = flag.raised or not flag.held
        flag.signal_number = number
        if at_once:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
