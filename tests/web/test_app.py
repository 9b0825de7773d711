"""What every answer has: security headers, no detail of an error, a count under its route."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from core import logs
from tests.web.conftest import FORM, Serve, Site
from web.security_headers import SecurityHeaders
from web.server import WebServer

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
PATHS = ["/", "/healthz", "/readyz", "/metrics", "/nothing", f"/hooks/formstack/{FORM}", "/hooks/formstack/1"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_security_headers(site: Site, path: str) -> None:
    answer = site.client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "server" not in answer.headers
    assert "strict-transport-security" not in answer.headers


def test_https_is_insisted_on_when_the_public_address_has_it(serve: Serve) -> None:
    site = serve(web={"base_url": "https://care.clinicbilling.example"})
    assert site.client.get("/healthz").headers["strict-transport-security"].startswith("max-age=31536000")


def test_an_unknown_path_is_not_found_and_not_repeated(site: Site) -> None:
    answer = site.client.get("/canary-path?canary=1")
    assert answer.status_code == 404
    assert "canary" not in answer.text
    assert site.client.get("/healthz/").status_code == 404


def test_people_get_a_sentence_and_programs_get_json(site: Site) -> None:
    assert site.client.get("/nothing", headers={"accept": "text/html"}).text == "There is nothing here.\n"
    assert site.client.get("/nothing").json()["error"] == "not_found"


def test_an_unhandled_error_tells_nobody_anything_and_the_log_only_where() -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError("canary-5521")

    async def fail_later(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError("canary-5521")

        return StreamingResponse(parts())

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logging.getLogger().addHandler(handler)
    app = Starlette(
        routes=[Route("/fail", fail), Route("/later", fail_later)], middleware=[Middleware(SecurityHeaders, https=False)]
    )
    server = WebServer(app, "127.0.0.1:0")
    server.start()
    try:
        answer = httpx.get(f"http://{server.address}/fail")
        assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
        assert "canary" not in answer.text
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://{server.address}/later")
    finally:
        server.stop()
        logging.getLogger().removeHandler(handler)
    assert stream.getvalue().count("a request failed") == 2
    assert "RuntimeError" in stream.getvalue()
    assert "canary" not in stream.getvalue()
