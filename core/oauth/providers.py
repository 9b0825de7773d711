"""Requests for tokens: to Microsoft through msal, to Google through google-auth, to any other provider by RFC 6749.

Both libraries are imported at first use, and both send their requests through :mod:`core.https`. Of a provider's error
only its code is passed on: its sentences name accounts and quote requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

from core import clock, https
from core.oauth.grants import Grant, TokenRefusedError, TokenUnavailableError
from core.settings.sections import OAuth

TIMEOUT_SECONDS = 20.0
APPLICATION_SCOPE = "https://outlook.office365.com/.default"
#: For a person who gave consent: the first scope reads mail, the second sends it.
PERSON_SCOPES = ("https://outlook.office.com/IMAP.AccessAsUser.All", "https://outlook.office.com/SMTP.Send")
GOOGLE_SCOPE = "https://mail.google.com/"
GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
#: Error codes of temporary trouble: RFC 6749 §5.2, and those the providers add.
TEMPORARY_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down", "rate_limit_exceeded", "internal_failure"})
_CODE = re.compile(r"[a-z][a-z_]{0,60}")
_AADSTS = re.compile(r"AADSTS\d+")
#: The lifetime in seconds of a token whose provider gives none.
_DEFAULT_LIFETIME = 3600.0


def request_token(oauth: OAuth, user: str, refresh_token: str | None) -> Grant:
    """Request a new token for ``user``, by ``refresh_token`` when given, else by the application's own credentials.

    Raises :class:`TokenUnavailableError` and :class:`TokenRefusedError`.
    """
    request_by_provider = {"microsoft": _request_microsoft, "google": _request_google, "other": _request_other}
    try:
        return request_by_provider[oauth.provider](oauth, user, refresh_token)
    except https.HTTP_ERRORS as error:
        raise TokenUnavailableError(https.error_code(error).replace("_", " ")) from None


def classify_error(status: int, answer: Mapping[str, Any]) -> TokenUnavailableError | TokenRefusedError:
    """Return the exception for a provider's error: temporary, or a refusal."""
    error = str(answer.get("error") or "")
    code = error if _CODE.fullmatch(error) else "no reason given"
    number = _AADSTS.search(str(answer.get("error_description") or ""))
    why = f"{code}, {number[0]}" if number else code
    if status == 429 or status >= 500 or error in TEMPORARY_ERRORS:
        return TokenUnavailableError(f"{why}, HTTP {status}" if status != 200 else why)
    return TokenRefusedError(why)


def _request_microsoft(oauth: OAuth, _user: str, refresh_token: str | None) -> Grant:
    """Use client credentials or a person's refresh token, in a new msal application: msal's cache would hide renewals."""
    import msal
    from msal.exceptions import MsalServiceError

    http = _MsalHttp(oauth)
    secret = oauth.client_secret.get_secret_value() if oauth.client_secret else None
    kind = msal.ConfidentialClientApplication if secret else msal.PublicClientApplication
    is_public_cloud = "microsoftonline" in oauth.authority
    try:
        application = kind(
            oauth.client_id, client_credential=secret, authority=f"{oauth.authority}/{oauth.tenant}", http_client=http,
            instance_discovery=None if is_public_cloud else False,
        )  # fmt: skip
        if refresh_token:
            answer = application.acquire_token_by_refresh_token(refresh_token, oauth.scope.split() or list(PERSON_SCOPES))
        else:
            answer = application.acquire_token_for_client([oauth.scope or APPLICATION_SCOPE])
    except (ValueError, KeyError, MsalServiceError):
        # What msal raises for an unknown directory and for responses that are no JSON.
        raise classify_error(http.status, {"error": "bad_answer"}) from None
    return _to_grant(http.status, answer)


class _MsalResponse:
    """A response in the shape that msal expects."""

    def __init__(self, response: https.HttpResponse) -> None:
        self.status_code = response.status
        self.text = response.body.decode("utf-8", "replace")
        self.headers = dict(response.headers)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise classify_error(self.status_code, {})


class _MsalHttp:
    """The HTTP client passed to msal; it remembers the last status, which msal does not report."""

    def __init__(self, oauth: OAuth) -> None:
        self._ca_file = oauth.ca_file
        self.status = 0

    def get(self, url: str, params: Any = None, headers: Any = None, **_: object) -> _MsalResponse:
        return self._send("GET", f"{url}?{urlencode(params)}" if params else url, headers, None)

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: object) -> _MsalResponse:
        body = urlencode(data).encode() if isinstance(data, dict) else data
        return self._send("POST", f"{url}?{urlencode(params)}" if params else url, headers, body or b"")

    def close(self) -> None:
        """Do nothing: no connection is kept open."""

    def _send(self, method: str, url: str, headers: Any, body: bytes | None) -> _MsalResponse:
        response = https.request(method, url, headers=headers, body=body, timeout_seconds=TIMEOUT_SECONDS, ca_file=self._ca_file)
        self.status = response.status
        return _MsalResponse(response)


def _request_google(oauth: OAuth, user: str, refresh_token: str | None) -> Grant:
    """Use a service account that acts for ``user``, or a person's refresh token."""
    from google.auth.exceptions import GoogleAuthError, RefreshError

    http = _GoogleHttp(oauth)
    credentials = _google_credentials(oauth, user, refresh_token)
    try:
        credentials.refresh(http)
    except RefreshError as error:
        answer = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], dict) else {}
        raise classify_error(http.status, answer) from None
    except GoogleAuthError as error:
        raise TokenUnavailableError(type(error).__name__) from None
    # google-auth holds the expiry as a naive time in UTC.
    seconds = (credentials.expiry.replace(tzinfo=UTC) - clock.now()).total_seconds() if credentials.expiry else _DEFAULT_LIFETIME
    return Grant(str(credentials.token), seconds, getattr(credentials, "refresh_token", None))


def _google_credentials(oauth: OAuth, user: str, refresh_token: str | None) -> Any:
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import credentials, service_account

    service_credentials: Any = service_account.Credentials
    person_credentials: Any = credentials.Credentials
    scopes = [oauth.scope or GOOGLE_SCOPE]
    if oauth.service_account is None:
        secret = oauth.client_secret.get_secret_value() if oauth.client_secret else None
        return person_credentials(
            None, refresh_token=refresh_token, token_uri=oauth.token_url or GOOGLE_TOKEN_URL, client_id=oauth.client_id,
            client_secret=secret, scopes=scopes,
        )  # fmt: skip
    try:
        account = json.loads(oauth.service_account.read_text("utf-8"))
        account["token_uri"] = oauth.token_url or GOOGLE_TOKEN_URL
        return service_credentials.from_service_account_info(account, scopes=scopes, subject=user)
    except (OSError, ValueError, TypeError, GoogleAuthError):
        raise TokenRefusedError("the file of the service account cannot be used") from None


class _GoogleResponse:
    """A response in the shape that google-auth expects."""

    def __init__(self, response: https.HttpResponse) -> None:
        self.status = response.status
        self.headers = dict(response.headers)
        self.data = response.body


class _GoogleHttp:
    """The transport passed to google-auth; it remembers the last status."""

    def __init__(self, oauth: OAuth) -> None:
        self._ca_file = oauth.ca_file
        self.status = 0

    def __call__(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **_: object
    ) -> _GoogleResponse:
        response = https.request(method, url, headers=headers, body=body, timeout_seconds=TIMEOUT_SECONDS, ca_file=self._ca_file)
        self.status = response.status
        return _GoogleResponse(response)


def _request_other(oauth: OAuth, _user: str, refresh_token: str | None) -> Grant:
    """Use client credentials (RFC 6749 §4.4) or a refresh token (§6)."""
    form = {"client_id": oauth.client_id, "scope": oauth.scope}
    form |= {"client_secret": oauth.client_secret.get_secret_value()} if oauth.client_secret else {}
    grant = {"grant_type": "refresh_token", "refresh_token": refresh_token} if refresh_token else {}
    body = urlencode({key: value for key, value in (form | (grant or {"grant_type": "client_credentials"})).items() if value})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    response = https.request(
        "POST", oauth.token_url, headers=headers, body=body.encode(), timeout_seconds=TIMEOUT_SECONDS, ca_file=oauth.ca_file
    )
    return _to_grant(response.status, _parse_object(response.body))


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _to_grant(status: int, answer: Mapping[str, Any]) -> Grant:
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise classify_error(status, answer)
    try:
        seconds = float(answer.get("expires_in") or _DEFAULT_LIFETIME)
    except (TypeError, ValueError):
        seconds = _DEFAULT_LIFETIME
    new_refresh_token = answer.get("refresh_token")
    return Grant(token, seconds, new_refresh_token if isinstance(new_refresh_token, str) and new_refresh_token else None)
