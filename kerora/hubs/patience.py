"""Time limits for downloads and uploads.

The clients of the hubs wait for minutes or forever if the network is down. Each download therefore starts with a short
check that the site answers, and stops if no data arrives for some time.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import requests

from kerora.hubs.names import OfflineError

PROBE_SECONDS = 4.0
"""Longest wait for an answer of a site."""
STALL_SECONDS = 60.0
"""Longest time that a download may continue without a new byte."""

Result = TypeVar("Result")


def probe(site: str, cache: Path) -> None:
    """Raise `OfflineError` if the site gives no answer of any kind within `PROBE_SECONDS`."""
    try:
        # requests applies its timeout to the connection and to the answer, so each gets half. The look-up of the name
        # has no timeout, so the request runs in a thread.
        _in_thread(lambda: requests.head(site, timeout=PROBE_SECONDS / 2), lambda: None, PROBE_SECONDS)
    except (requests.exceptions.RequestException, TimeoutError) as error:
        raise OfflineError(site, cache, reason(error)) from error


def patiently(download: Callable[[], Result], folder: Path) -> Result:
    """Run a download. It fails if the size of the folder does not change for `STALL_SECONDS`."""

    def size() -> int:
        return sum(map(_size_of, folder.rglob("*"))) if folder.is_dir() else 0

    return _in_thread(download, size, STALL_SECONDS)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # The client has just renamed it.
        return 0


def _in_thread(work: Callable[[], Result], progress: Callable[[], Any], seconds: float) -> Result:
    """Run `work` in a thread. Raise TimeoutError if the value of `progress` does not change for `seconds`."""
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["value"] = work()
        except BaseException as error:  # Raised again below, in the thread of the caller.
            outcome["error"] = error

    # A daemon, because a client that hangs must not keep the process alive.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    last, since = progress(), time.monotonic()
    while thread.is_alive():
        thread.join(min(0.5, seconds))
        now = progress()
        if now != last:
            last, since = now, time.monotonic()
        # The thread may have ended since the check of the loop.
        elif thread.is_alive() and time.monotonic() - since > seconds:
            raise TimeoutError(f"no answer within {seconds:g} seconds")
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def reason(error: BaseException) -> str:
    """Return the reason of an error on one line, without the nested text of the clients."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ReadTimeout):
        return f"no answer within {PROBE_SECONDS:g} seconds"
    text = " ".join(str(error).split())
    for known in ("Failed to resolve", "Name or service not known", "Temporary failure in name resolution"):
        if known in text:
            return "its name cannot be resolved"
    if "refused" in text:
        return "connection refused"
    return text[:160] or type(error).__name__
