"""The server: its address, start and stop, and what it refuses before the application sees it."""

from __future__ import annotations

import socket
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
from tests.waiting import scale_budget
from web import http_limits
from web.server import WebServer, parse_listen


async def _show_client(request: Request) -> Response:
    return PlainTextResponse(request.client.host if request.client else "")


APP = Starlette(routes=[Route("/", _show_client)])


@pytest.fixture
def site_url() -> Iterator[str]:
    """A running server."""
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    yield f"http://{server.address}"
    server.stop()


def test_server_answers_once_started_and_closes_when_stopped() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    assert httpx.get(f"http://{server.address}/").status_code == 200
    server.stop()
    assert not is_listening(int(server.address.rpartition(":")[2]))


def test_server_restarts_on_same_port_at_once() -> None:
    first = WebServer(APP, "127.0.0.1:0")
    first.start()
    httpx.get(f"http://{first.address}/")
    first.stop()
    second = WebServer(APP, first.address)
    second.start()
    assert httpx.get(f"http://{first.address}/").status_code == 200
    second.stop()


def test_port_in_use_is_refused_with_hint() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(ConfigurationError, match=r"web\.listen: cannot listen on 127\.0\.0\.1:\d+.*in use") as refused:
            WebServer(APP, server.address).start()
        assert "set another one" in refused.value.hint
    finally:
        server.stop()


@pytest.mark.parametrize("listen", ["8025", "127.0.0.1:", ":8025", "127.0.0.1:x", "127.0.0.1:70000", ""])
def test_invalid_listen_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigurationError, match=r"web\.listen"):
        parse_listen(listen)


def test_ipv6_address_is_written_in_brackets() -> None:
    assert parse_listen("[::1]:8025") == ("::1", 8025)


def test_forwarded_header_does_not_change_client() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    response = httpx.get(f"http://{server.address}/", headers={"x-forwarded-for": "203.0.113.9"})
    server.stop()
    assert response.text == "127.0.0.1"


def test_stop_during_start_waits_and_stops_server(monkeypatch: pytest.MonkeyPatch) -> None:
    server = WebServer(APP, "127.0.0.1:0")
    stopper, make_thread = threading.Thread(target=server.stop), threading.Thread

    def stop_during_start(**options: Any) -> threading.Thread:
        monkeypatch.undo()
        stopper.start()
        stopper.join(0.2)
        return make_thread(**options)

    monkeypatch.setattr(threading, "Thread", stop_during_start)
    server.start()
    stopper.join(scale_budget(10))
    assert not stopper.is_alive()
    assert not is_listening(int(server.address.rpartition(":")[2]))


def test_oversized_head_is_refused() -> None:
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


def test_incomplete_head_closes_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "HEAD_SECONDS", 0.3)
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert connection.recv(100) == b""
    server.stop()


def test_connection_serves_several_requests() -> None:
    server = WebServer(APP, "127.0.0.1:0")
    server.start()
    with httpx.Client(base_url=f"http://{server.address}") as client:
        assert [client.get("/", headers={"x-long": "a" * 30_000}).status_code for _ in range(5)] == [200] * 5
    server.stop()


def test_response_is_not_delayed_by_nagle(site_url: str) -> None:
    with httpx.Client(base_url=site_url) as client:
        client.get("/")
        started = time.perf_counter()
        for _ in range(20):
            client.get("/")
        assert time.perf_counter() - started < 0.4  # with Nagle's algorithm on, 40 ms each
