"""A sign-in service of the tests' own: tokens in Microsoft's, Google's and RFC 6749's way, and introspection (RFC 7662)."""

import itertools
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.servers.tls import Certificates
from tests.servers.web import Asked, Told, WebServer

CLIENT, SECRET, REFRESH = "casemill-client", "client-secret-canary", "refresh-token-canary"


class TokenServer:
    """Grants tokens for ``user`` that live ``life`` seconds. Tokens by TLS, introspection for a mail server in plain text.

    ``refuse`` is the answer to every request for a token from now on; ``asked`` are all that came.
    """

    tenant = "contoso"

    def __init__(self, certificates: Certificates, user: str) -> None:
        self.user = user
        self.life = 3600.0
        self.refuse: Told | None = None
        self.asked: list[dict[str, str]] = []
        self.introspected: list[str] = []
        self.ca_file = certificates.ca_file
        self._ends: dict[str, float] = {}
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
        """No token given so far is good any longer."""
        self._ends.clear()

    def is_good(self, token: str) -> bool:
        return self._ends.get(token, 0.0) > time.monotonic()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._tokens)
        self._stack.enter_context(self._introspection)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _answer(self, asked: Asked) -> Told:
        if asked.path.endswith("/.well-known/openid-configuration"):
            return Told(200, self._configuration())
        self.asked.append(asked.form)
        if self.refuse is not None:
            return self.refuse
        if not self._is_allowed(asked.form):
            return Told(401, {"error": "invalid_client", "error_description": f"AADSTS7000215: {asked.form} is wrong"})
        token = f"token-canary-{next(self._serial)}"
        self._ends[token] = time.monotonic() + self.life
        return Told(200, {"access_token": token, "token_type": "Bearer", "expires_in": self.life})

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

    def _introspect(self, asked: Asked) -> Told:
        token = asked.form.get("token", "")
        self.introspected.append(token)
        return Told(200, {"active": True, "username": self.user} if self.is_good(token) else {"active": False})
