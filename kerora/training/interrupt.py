"""Turn Ctrl-C and SIGTERM into a flag that training looks at between updates."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class InterruptFlag:
    """Whether a signal asked for a stop, and which."""

    signal_number: int = 0

    @property
    def raised(self) -> bool:
        """Whether a signal came."""
        return self.signal_number != 0


@contextmanager
def interrupt_flag() -> Iterator[InterruptFlag]:
    """Collect the first SIGINT or SIGTERM in a flag; a second one interrupts at once.

    Outside the main thread, where Python takes no signals, the flag is never raised.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def note(number: int, frame: FrameType | None) -> None:
        if flag.raised:
            raise KeyboardInterrupt
        flag.signal_number = number

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
