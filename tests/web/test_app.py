"""What every response has: security headers, and no detail of an error."""

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
def test_every_response_has_security_headers(site: Site, path: str) -> None:
    response = site.client.get(path)
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "server" not in response.headers
    assert "strict-transport-security" not in response.headers


def test_hsts_is_sent_for_https_base_url(serve: Serve) -> None:
    site = serve(web={"base_url": "https://care.clinicbilling.example"})
    assert site.client.get("/healthz").headers["strict-transport-security"].startswith("max-age=31536000")


def test_unknown_path_is_not_found_and_not_repeated(site: Site) -> None:
    response = site.client.get("/canary-path?canary=1")
    assert response.status_code == 404
    assert "canary" not in response.text
    assert site.client.get("/healthz/").status_code == 404


def test_browsers_get_text_and_programs_get_json(site: Site) -> None:
    assert site.client.get("/nothing", headers={"accept": "text/html"}).text == "There is nothing here.\n"
    assert site.client.get("/nothing").json()["error"] == "not_found"


def test_unhandled_error_reveals_nothing_and_logs_only_places() -> None:
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
        routes=[Route("/fail", fail), Route("/later", fail_later)], middleware=[Middleware(SecurityHeaders, is_https=False)]
    )
    server = WebServer(app, "127.0.0.1:0")
    server.start()
    try:
        response = httpx.get(f"http://{server.address}/fail")
        assert (response.status_code, response.json()["error"]) == (500, "internal_error")
        assert "canary" not in response.text
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://{server.address}/later")
    finally:
        server.stop()
        logging.getLogger().removeHandler(handler)
    assert stream.getvalue().count("request failed") == 2
    assert "RuntimeError" in stream.getvalue()
    assert "canary" not in stream.getvalue()
