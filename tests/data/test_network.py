import socket
import time

from kerora.data.network import first_reachable


def test_a_listening_host_is_found_among_others(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reach = first_reachable(["http://host.invalid/a", f"http://127.0.0.1:{port}/b"], 5)
    assert reach.tried == ("host.invalid", "127.0.0.1")
    assert reach.reached == "127.0.0.1"


def test_nothing_reachable_is_known_within_the_time(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    start = time.monotonic()
    assert first_reachable(["https://host.invalid/a", "https://host.invalid/b"], 1).reached is None
    assert time.monotonic() - start < 3


def test_a_proxy_is_what_must_be_reachable(monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        reach = first_reachable(["https://host.invalid/a"], 5)
    assert reach.reached == "host.invalid through the proxy 127.0.0.1"
