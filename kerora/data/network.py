"""Checks quickly whether a server can be reached, because some libraries wait for minutes."""

import itertools
import queue
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Reach:
    """The result: the servers that were tried, and the first one that answered, or None."""

    tried: tuple[str, ...]
    reached: str | None


def first_reachable(urls: Sequence[str], seconds: float, most: int = 4) -> Reach:
    """Try to connect to the hosts of some URLs (or to their proxies) in parallel.

    A name lookup can block for longer than the time-out of a socket. Each host therefore has its own daemon thread,
    which may still run when this function returns.

    Args:
        urls: http or https addresses.
        seconds: longest wait for all of them together.
        most: largest number of different hosts to try. Default: 4.
    """
    # A dict, because the files of a data set often have one host. The first hosts are enough to find any network.
    addresses = dict(itertools.islice(dict(map(_address, urls)).items(), most))
    answers: queue.Queue[str | None] = queue.Queue()
    for name, address in addresses.items():
        # daemon: a lookup that hangs must not keep the process from its exit.
        threading.Thread(target=_try, args=(name, address, seconds, answers), daemon=True).start()
    deadline = time.monotonic() + seconds
    try:
        for _ in addresses:
            # One answer is enough. The deadline holds for all hosts together.
            if reached := answers.get(timeout=max(0.0, deadline - time.monotonic())):
                return Reach(tuple(addresses), reached)
    except queue.Empty:
        pass
    return Reach(tuple(addresses), None)


def _address(url: str) -> tuple[str, tuple[str, int]]:
    """Return the name of the server of a URL for messages, and the host and port to connect to."""
    parts = urllib.parse.urlsplit(url)
    name = parts.hostname or "localhost"
    proxy = urllib.request.getproxies().get(parts.scheme)
    # Behind a proxy the server itself cannot be reached, although downloads work.
    if proxy and not urllib.request.proxy_bypass(name):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        return f"{name} through the proxy {parts.hostname}", (parts.hostname or "", parts.port or PORTS["http"])
    return name, (name, parts.port or PORTS.get(parts.scheme, PORTS["https"]))


def _try(name: str, address: tuple[str, int], seconds: float, answers: "queue.Queue[str | None]") -> None:
    try:
        socket.create_connection(address, timeout=seconds).close()
        answers.put(name)
    # The codec of host names raises UnicodeError for a name with an empty or too long part.
    except (OSError, UnicodeError):
        answers.put(None)
