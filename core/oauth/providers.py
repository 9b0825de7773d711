"""Asking the providers for tokens: Microsoft by msal, Google by google-auth, any other by RFC 6749 itself.

Both libraries are imported when first used, and both send their requests through :mod:`core.https`. Of what a provider
answers only its error code is told: its sentences name accounts and quote requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

from core import clock, https
from core.oauth.tokens import Grant, TokenRefusedError, TokenUnavailableError
from core.settings.sections import OAuth

TIMEOUT_SECONDS = 20.0
APPLICATION_SCOPE = "https://outlook.office365.com/.default"
#: For a person who has agreed; mail is read under the first, sent under the second.
PERSON_SCOPES = ("https://outlook.office.com/IMAP.AccessAsUser.All", "https://outlook.office.com/SMTP.Send")
GOOGLE_SCOPE = "https://mail.google.com/"
GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
#: RFC 6749 §5.2 and what the providers add: trouble that passes.
TEMPORARY_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down", "rate_limit_exceeded", "internal_failure"})
_CODE = re.compile(r"[a-z][a-z_]{0,60}")
_AADSTS = re.compile(r"AADSTS\d+")
_DEFAULT_LIFE = 3600.0


def request_token(oauth: OAuth, user: str, refresh_token: str | None) -> Grant:
    """A new token. Raises :class:`TokenUnavailableError` and :class:`TokenRefusedError`."""
    asked = {"microsoft": _ask_microsoft, "google": _ask_google, "other": _ask_other}[oauth.provider]
    try:
        return asked(oauth, user, refresh_token)
    except https.HTTP_ERRORS as error:
        raise TokenUnavailableError(https.error_code(error).replace("_", " ")) from None


def classify_error(status: int, answer: Mapping[str, Any]) -> TokenUnavailableError | TokenRefusedError:
    """What a provider's error is: trouble that passes, or a refusal."""
    error = str(answer.get("error") or "")
    code = error if _CODE.fullmatch(error) else "no reason given"
    number = _AADSTS.search(str(answer.get("error_description") or ""))
    why = f"{code}, {number[0]}" if number else code
    if status == 429 or status >= 500 or error in TEMPORARY_ERRORS:
        return TokenUnavailableError(f"{why}, HTTP {status}" if status != 200 else why)
    return TokenRefusedError(why)


def _ask_microsoft(oauth: OAuth, _user: str, refresh_token: str | None) -> Grant:
    """Client credentials, or a person's refresh token. A new application each time: msal's own cache would hide a renewal."""
    import msal
    from msal.exceptions import MsalServiceError

    http = _MsalHttp(oauth)
    secret = oauth.client_secret.get_secret_value() if oauth.client_secret else None
    kind = msal.ConfidentialClientApplication if secret else msal.PublicClientApplication
    known = "microsoftonline" in oauth.authority
    try:
        application = kind(
            oauth.client_id, client_credential=secret, authority=f"{oauth.authority}/{oauth.tenant}", http_client=http,
            instance_discovery=None if known else False,
        )  # fmt: skip
        if refresh_token:
            answer = application.acquire_token_by_refresh_token(refresh_token, oauth.scope.split() or list(PERSON_SCOPES))
        else:
            answer = application.acquire_token_for_client([oauth.scope or APPLICATION_SCOPE])
    except (ValueError, KeyError, MsalServiceError):  # what msal makes of an unknown directory, and of answers that are no JSON
        raise classify_error(http.status, {"error": "bad_answer"}) from None
    return _grant(http.status, answer)


class _MsalResponse:
    """The shape of a response that msal asks for."""

    def __init__(self, answer: https.HttpResponse) -> None:
        self.status_code = answer.status
        self.text = answer.body.decode("utf-8", "replace")
        self.headers = dict(answer.headers)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise classify_error(self.status_code, {})


class _MsalHttp:
    """The HTTP client that msal is given; remembers the last status, which msal keeps to itself."""

    def __init__(self, oauth: OAuth) -> None:
        self._ca_file = oauth.ca_file
        self.status = 0

    def get(self, url: str, params: Any = None, headers: Any = None, **_: object) -> _MsalResponse:
        return self._send("GET", f"{url}?{urlencode(params)}" if params else url, headers, None)

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: object) -> _MsalResponse:
        body = urlencode(data).encode() if isinstance(data, dict) else data
        return self._send("POST", f"{url}?{urlencode(params)}" if params else url, headers, body or b"")

    def close(self) -> None:
        """Nothing is kept open."""

    def _send(self, method: str, url: str, headers: Any, body: bytes | None) -> _MsalResponse:
        answer = https.request(method, url, headers=headers, body=body, timeout_seconds=TIMEOUT_SECONDS, ca_file=self._ca_file)
        self.status = answer.status
        return _MsalResponse(answer)


def _ask_google(oauth: OAuth, user: str, refresh_token: str | None) -> Grant:
    """A service account that acts for ``user``, or a person's refresh token."""
    from google.auth.exceptions import GoogleAuthError, RefreshError

    http = _GoogleHttp(oauth)
    credentials = _google_credentials(oauth, user, refresh_token)
    try:
        credentials.refresh(http)
    except RefreshError as error:
        told = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
        raise classify_error(http.status, told) from None
    except GoogleAuthError as error:
        raise TokenUnavailableError(type(error).__name__) from None
    # google-auth keeps the end as a naive time in UTC.
    left = (credentials.expiry.replace(tzinfo=UTC) - clock.now()).total_seconds() if credentials.expiry else _DEFAULT_LIFE
    return Grant(str(credentials.token), left, getattr(credentials, "refresh_token", None))


def _google_credentials(oauth: OAuth, user: str, refresh_token: str | None) -> Any:
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import credentials, service_account

    kind: Any = service_account.Credentials
    person: Any = credentials.Credentials
    scopes = [oauth.scope or GOOGLE_SCOPE]
    if oauth.service_account is None:
        secret = oauth.client_secret.get_secret_value() if oauth.client_secret else None
        return person(
            None, refresh_token=refresh_token, token_uri=oauth.token_url or GOOGLE_TOKEN_URL, client_id=oauth.client_id,
            client_secret=secret, scopes=scopes,
        )  # fmt: skip
    try:
        about = json.loads(oauth.service_account.read_text("utf-8"))
        about["token_uri"] = oauth.token_url or GOOGLE_TOKEN_URL
        return kind.from_service_account_info(about, scopes=scopes, subject=user)
    except (OSError, ValueError, TypeError, GoogleAuthError):
        raise TokenRefusedError("the service account's file cannot be used") from None


class _GoogleResponse:
    """The shape of a response that google-auth asks for."""

    def __init__(self, answer: https.HttpResponse) -> None:
        self.status = answer.status
        self.headers = dict(answer.headers)
        self.data = answer.body


class _GoogleHttp:
    """The transport that google-auth is given."""

    def __init__(self, oauth: OAuth) -> None:
        self._ca_file = oauth.ca_file
        self.status = 0

    def __call__(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **_: object
    ) -> _GoogleResponse:
        answer = https.request(method, url, headers=headers, body=body, timeout_seconds=TIMEOUT_SECONDS, ca_file=self._ca_file)
        self.status = answer.status
        return _GoogleResponse(answer)


def _ask_other(oauth: OAuth, _user: str, refresh_token: str | None) -> Grant:
    """RFC 6749 §4.4 (client credentials) and §6 (refresh token)."""
    form = {"client_id": oauth.client_id, "scope": oauth.scope}
    form |= {"client_secret": oauth.client_secret.get_secret_value()} if oauth.client_secret else {}
    grant = {"grant_type": "refresh_token", "refresh_token": refresh_token} if refresh_token else {}
    body = urlencode({key: value for key, value in (form | (grant or {"grant_type": "client_credentials"})).items() if value})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    answer = https.request(
        "POST", oauth.token_url, headers=headers, body=body.encode(), timeout_seconds=TIMEOUT_SECONDS, ca_file=oauth.ca_file
    )
    return _grant(answer.status, _object(answer.body))


def _object(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _grant(status: int, answer: Mapping[str, Any]) -> Grant:
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise classify_error(status, answer)
    try:
        seconds = float(answer.get("expires_in") or _DEFAULT_LIFE)
    except (TypeError, ValueError):
        seconds = _DEFAULT_LIFE
    renewed = answer.get("refresh_token")
    return Grant(token, seconds, renewed if isinstance(renewed, str) and renewed else None)
