"""A worker process of a search: ``python -m kerora.tuning.worker`` with its job on standard input.

With ``--as-written`` its messages name options, because the command line started the search.
"""

import _thread
import signal
import sys
import threading

from kerora.errors import AS_WRITTEN, KeroraError, as_written, is_as_written
from kerora.fast.lean_import import import_keras_lean


def main() -> int:
    """Do the job from standard input, and return the exit code."""
    with as_written(AS_WRITTEN in sys.argv or is_as_written()):
        return _main()


def _main() -> int:
    # for the time before `interrupt_flag`: both signals end with KeyboardInterrupt, also where a shell that starts the
    # search in the background has made SIGINT ignored
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # before the thread, which reads the rest of the same stream
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        # both imports take seconds, so signals and the end of the parent are watched before
        import_keras_lean()
        from kerora.tuning.work import work

        work(line)
    except KeroraError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # as shells count it
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()  # returns when the process that started this one has ended
    _thread.interrupt_main()


if __name__ == "__main__":
    sys.exit(main())
