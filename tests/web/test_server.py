"""The server: where it listens, how it starts and ends, and what it refuses before the application sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from core.errors import ConfigurationError
from tests.servers.ports import is_listening
from web import http_limits
from web.server import WebServer, parse_listen


async def _answer(request: Request) -> Response:
    return PlainTextResponse(request.client.host if request.client else "")


APP = Starlette(routes=[Route("/", _answer)])


@pytest.fixture
def site_url() -> Iterator[str]:
    """A running server."""
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    yield f"http://{server.address}"
    server.stop()


def test_it_answers_as_soon_as_it_has_started_and_is_gone_when_stopped() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    assert httpx.get(f"http://{server.address}/").status_code == 200
    server.stop()
    assert not is_listening(int(server.address.rpartition(":")[2]))


def test_it_can_be_started_on_the_same_port_again_at_once() -> None:
    first = WebServer(APP, "127.0.0.1:0")
    first.start()
    httpx.get(f"http://{first.address}/")
    first.stop()
    second = WebServer(APP, first.address)
    second.start()
    assert httpx.get(f"http://{first.address}/").status_code == 200
    second.stop()


def test_a_port_in_use_is_refused_with_the_mend() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(ConfigurationError, match=r"web\.listen: cannot listen on 127\.0\.0\.1:\d+.*in use") as refused:
            WebServer(APP, server.address).start()
        assert "set another one" in refused.value.hint
    finally:
        server.stop()


@pytest.mark.parametrize("listen", ["8025", "127.0.0.1:", ":8025", "127.0.0.1:x", "127.0.0.1:70000", ""])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigurationError, match=r"web\.listen"):
        parse_listen(listen)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert parse_listen("[::1]:8025") == ("::1", 8025)


def test_a_header_makes_nobody_another_client() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    answer = httpx.get(f"http://{server.address}/", headers={"x-forwarded-for": "203.0.113.9"})
    server.stop()
    assert answer.text == "127.0.0.1"


def test_serving_in_the_foreground_ends_normally_when_stopped() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    deadline = time.monotonic() + 5
    while server.address.endswith(":0") and time.monotonic() < deadline:
        time.sleep(0.01)
    server.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_a_stop_in_the_middle_of_the_start_waits_for_it_and_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = WebServer(APP, "127.0.0.1:0")
    stopper, make_thread = threading.Thread(target=server.stop), threading.Thread

    def make_while_somebody_stops(**options: Any) -> threading.Thread:
        monkeypatch.undo()
        stopper.start()
        stopper.join(0.2)
        return make_thread(**options)

    monkeypatch.setattr(threading, "Thread", make_while_somebody_stops)
    server.serve_forever()
    stopper.join(10)
    assert not stopper.is_alive()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_serving_and_the_process_goes_on_to_its_end(number: signal.Signals) -> None:
    code = (
        "from tests.web.test_server import APP\n"
        "from web.server import WebServer\n"
        "server = WebServer(APP, '127.0.0.1:0')\n"
        "import threading, time\n"
        "def tell():\n"
        "    while server.address.endswith(':0'): time.sleep(0.01)\n"
        "    print('up', flush=True)\n"
        "threading.Thread(target=tell, daemon=True).start()\n"
        "server.serve_forever()\n"
        "print('ended', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.3)
        os.kill(process.pid, number)
        assert process.stdout.readline() == "ended\n"
        assert process.wait(10) == 0


def test_a_head_without_end_is_refused() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        for _ in range(7):
            connection.sendall(b"a" * 10_000)
            time.sleep(0.02)
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")
    server.stop()


def test_a_head_that_never_comes_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_SECONDS", 0.3)
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert connection.recv(100) == b""
    server.stop()


def test_several_requests_on_one_connection_are_answered() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    with httpx.Client(base_url=f"http://{server.address}") as client:
        assert [client.get("/", headers={"x-long": "a" * 30_000}).status_code for _ in range(5)] == [200] * 5
    server.stop()


def test_an_answer_does_not_wait_for_the_network(site_url: str) -> None:
    with httpx.Client(base_url=site_url) as client:
        client.get("/")
        started = time.perf_counter()
        for _ in range(20):
            client.get("/")
        assert time.perf_counter() - started < 0.4  # with Nagle's algorithm on, 40 ms each
