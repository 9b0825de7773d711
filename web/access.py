"""Who may see status, metrics and tickets: requests from this machine, and holders of the status token."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from core.settings import Settings
from core.settings.types import is_loopback

#: Headers of proxies: a request with one of them did not start on this machine, even when its connection did.
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


def may_see_status(request: Request, settings: Settings) -> bool:
    """Return whether the request comes from this machine or carries ``Authorization: Bearer <web.status_token>``."""
    return _is_local(request) or _has_token(request, settings)


def _is_local(request: Request) -> bool:
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    client = request.client.host if request.client else ""
    # Checking Host stops DNS rebinding: a foreign page whose name resolves to 127.0.0.1 must not read ours.
    return bool(client) and is_loopback(client) and is_loopback(_host_name(request.headers.get("host", "")))


def _host_name(host: str) -> str:
    name, bracket, _ = host.rpartition("]")
    return name + bracket if bracket else host.partition(":")[0].lower()


def _has_token(request: Request, settings: Settings) -> bool:
    expected = settings.web.status_token
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if expected is None or not expected.get_secret_value() or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(token.strip().encode("utf-8", "replace"), expected.get_secret_value().encode())
