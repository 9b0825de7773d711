"""HTTPS requests to external services: verified TLS, no redirects, responses of limited size, no plain text.

The standard library's client is enough for the few requests that casemill makes (docs/decisions/outgoing-http-requests.md).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import RefusedError
from core.settings.types import is_loopback

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
#: Time-outs, lost connections, unknown hosts, bad certificates and malformed responses.
HTTP_ERRORS = (OSError, http.client.HTTPException)
_HTTPS_HINT = "write the address with https://"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A server's response, header names in lower case. The repr omits the body, which may hold a token or a message."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: a redirect would send the token to an address of the server's choice."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_seconds: float = 20.0,
    ca_file: Path | None = None,
) -> HttpResponse:
    """Send one request and return the response, of any status.

    ``ca_file`` is the PEM file of a private certificate authority; None means the system's authorities.
    Raises one of :data:`HTTP_ERRORS`, and :class:`RefusedError` for an address that is neither https nor this machine.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise RefusedError("plain_text_refusal", "the address is not https: secrets would travel in plain text", hint=_HTTPS_HINT)
    prepared = urllib.request.Request(url, body, dict(headers or {}), method=method)  # noqa: S310 - checked above
    try:
        with _opener(ca_file).open(prepared, timeout=timeout_seconds) as response:
            return _read(response.status, response)
    except urllib.error.HTTPError as error:
        with error:
            return _read(error.code, error)
    except urllib.error.URLError as error:
        raise error.reason if isinstance(error.reason, OSError) else OSError("no connection") from None


def error_code(error: BaseException) -> str:
    """Return a snake_case reason for one of :data:`HTTP_ERRORS`; never text that the server sent."""
    kinds: list[tuple[type[BaseException], str]] = [
        (ssl.SSLCertVerificationError, "untrusted_certificate"),
        (ssl.SSLError, "tls_failure"),
        (socket.gaierror, "unknown_host"),
        (TimeoutError, "timeout"),
        (ConnectionRefusedError, "connection_refusal"),
        (http.client.HTTPException, "bad_answer"),
        (ConnectionError, "connection_loss"),
        (OSError, "connection_failure"),
    ]
    if isinstance(error, RefusedError):
        return error.code
    return next((code for kind, code in kinds if isinstance(error, kind)), "unexpected_error")


def _read(status: int, response: http.client.HTTPResponse | urllib.error.HTTPError) -> HttpResponse:
    body = response.read(MAX_RESPONSE_BYTES + 1)
    if len(body) > MAX_RESPONSE_BYTES:
        raise http.client.HTTPException("the response is too large")
    return HttpResponse(status, {name.lower(): value for name, value in response.headers.items()}, body)


@lru_cache(maxsize=16)
def _opener(ca_file: Path | None) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context(cafile=ca_file)
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)
