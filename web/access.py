"""Who may see the state of the house: people on this machine, and holders of the status token."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from core.settings import Settings
from core.settings.types import is_loopback

#: A request with one of these was passed on by a proxy: whoever asked, it was not this machine.
_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


def may_see_status(request: Request, settings: Settings) -> bool:
    """Whether the request comes from this machine itself or carries ``Authorization: Bearer <web.status_token>``."""
    return _is_local(request) or _has_token(request, settings)


def _is_local(request: Request) -> bool:
    if any(name in request.headers for name in _PASSED_ON):
        return False
    client = request.client.host if request.client else ""
    # The Host is checked too: a page from elsewhere whose name was made to resolve to 127.0.0.1 must not read this one.
    return bool(client) and is_loopback(client) and is_loopback(_host_name(request.headers.get("host", "")))


def _host_name(host: str) -> str:
    name, bracket, _ = host.rpartition("]")
    return name + bracket if bracket else host.partition(":")[0].lower()


def _has_token(request: Request, settings: Settings) -> bool:
    token = settings.web.status_token
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if token is None or not token.get_secret_value() or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.get_secret_value().encode())
