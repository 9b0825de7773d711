"""A token service as Microsoft, Google and RFC 6749 have it, with introspection (RFC 7662)."""

import itertools
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.servers.tls import Certificates
from tests.servers.web import HttpRequest, HttpResponse, WebServer

CLIENT, SECRET, REFRESH = "casemill-client", "client-secret-canary", "refresh-token-canary"


class TokenServer:
    """Issues tokens for ``user``, over TLS, and introspects them for a mail server, without TLS.

    ``lifetime_seconds`` is that of new tokens. ``refusal``, when set, is the response to every token request.
    ``token_requests`` holds the forms of all token requests, ``introspected_tokens`` the tokens that were introspected.
    """

    tenant = "contoso"

    def __init__(self, certificates: Certificates, user: str) -> None:
        self.user = user
        self.lifetime_seconds = 3600.0
        self.refusal: HttpResponse | None = None
        self.token_requests: list[dict[str, str]] = []
        self.introspected_tokens: list[str] = []
        self.ca_file = certificates.ca_file
        self._expiry: dict[str, float] = {}
        self._serial = itertools.count(1)
        self._tokens = WebServer(self._answer, certificates)
        self._introspection = WebServer(self._introspect)
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        return self._tokens.url

    @property
    def introspection_url(self) -> str:
        return f"http://127.0.0.1:{self._introspection.port}/introspect"

    def revoke_all(self) -> None:
        """Invalidate all tokens issued so far."""
        self._expiry.clear()

    def is_valid(self, token: str) -> bool:
        return self._expiry.get(token, 0.0) > time.monotonic()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._tokens)
        self._stack.enter_context(self._introspection)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _answer(self, request: HttpRequest) -> HttpResponse:
        if request.path.endswith("/.well-known/openid-configuration"):
            return HttpResponse(200, self._configuration())
        self.token_requests.append(request.form)
        if self.refusal is not None:
            return self.refusal
        if not self._is_allowed(request.form):
            return HttpResponse(401, {"error": "invalid_client", "error_description": f"AADSTS7000215: {request.form} is wrong"})
        token = f"token-canary-{next(self._serial)}"
        self._expiry[token] = time.monotonic() + self.lifetime_seconds
        return HttpResponse(200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_seconds})

    def _is_allowed(self, form: dict[str, str]) -> bool:
        kind = form.get("grant_type", "")
        if kind == "client_credentials":
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        if kind == "refresh_token":
            return (form.get("client_id"), form.get("refresh_token")) == (CLIENT, REFRESH)
        return kind == "urn:ietf:params:oauth:grant-type:jwt-bearer" and form.get("assertion", "").count(".") == 2

    def _configuration(self) -> dict[str, str]:
        base = f"{self.url}/{self.tenant}"
        return {
            "issuer": f"{base}/v2.0", "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        }  # fmt: skip

    def _introspect(self, request: HttpRequest) -> HttpResponse:
        token = request.form.get("token", "")
        self.introspected_tokens.append(token)
        return HttpResponse(200, {"active": True, "username": self.user} if self.is_valid(token) else {"active": False})
