"""Tokens for signing in to mail (XOAUTH2): kept in memory for the process, renewed ahead of their end, given up when rejected.

All connections of a process share what is kept. Nothing is written down; after a restart a new token is asked for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from core import clock
from core.errors import RefusedError
from core.settings.sections import OAuth

#: A token is renewed so long before its end, or at half its life when that is later.
RENEW_BEFORE_EXPIRY = timedelta(minutes=5)
#: What was refused is not asked for again sooner: providers lock accounts that keep on asking.
REFUSAL_PAUSE = timedelta(minutes=1)


class TokenError(RefusedError):
    """No token was to be had; ``text`` holds the provider's error code, never its words."""


class TokenUnavailableError(TokenError):
    """Trying again later may help: a time-out, no connection, too many requests, trouble of the provider's own."""

    def __init__(self, why: str) -> None:
        super().__init__("token_unavailable", f"no token could be had just now ({why})")


class TokenRefusedError(TokenError):
    """Trying again will not help before something is mended: wrong secret, no consent, an ended refresh token."""

    def __init__(self, why: str) -> None:
        hint = "correct client_id, client_secret, tenant or refresh_token, and see that the application may use the mailbox"
        super().__init__("token_refusal", f"the provider refused a token ({why})", hint=hint)


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, its life from now on in seconds, and the refresh token that takes the place of the one used."""

    token: str = field(repr=False)
    seconds: float
    refresh_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str = field(repr=False)
    renew_at: datetime
    ends_at: datetime


class TokenSource:
    """Tokens of one account. Threads share it; one at a time asks the provider."""

    def __init__(self, oauth: OAuth, user: str) -> None:
        self._oauth = oauth
        self._user = user
        self._refresh_token = oauth.refresh_token.get_secret_value() if oauth.refresh_token else None
        self._kept: _Kept | None = None
        self._refusal: tuple[datetime, TokenRefusedError] | None = None
        self._guard = threading.Lock()

    def get_token(self) -> str:
        """A token that is good for a while. Raises :class:`TokenUnavailableError`, :class:`TokenRefusedError`."""
        with self._guard:
            now = clock.now()
            if self._kept is not None and now < self._kept.renew_at:
                return self._kept.token
            if self._refusal is not None and now < self._refusal[0]:
                raise self._refusal[1]
            return self._renew(now)

    def replace_rejected_token(self, token: str) -> str:
        """Another token than ``token``, which a server did not take. Raises as :meth:`token` does."""
        with self._guard:
            if self._kept is not None and self._kept.token == token:
                self._kept = None
        return self.get_token()

    def _renew(self, now: datetime) -> str:
        from core.oauth.providers import request_token

        try:
            grant = request_token(self._oauth, self._user, self._refresh_token)
        except TokenUnavailableError:
            if self._kept is not None and now < self._kept.ends_at:
                return self._kept.token
            raise
        except TokenRefusedError as refusal:
            self._refusal = (now + REFUSAL_PAUSE, refusal)
            raise
        self._refusal = None
        self._refresh_token = grant.refresh_token or self._refresh_token
        life = timedelta(seconds=grant.seconds)
        self._kept = _Kept(grant.token, now + life - min(RENEW_BEFORE_EXPIRY, life / 2), now + life)
        return grant.token


@lru_cache(maxsize=256)
def token_source(oauth: OAuth, user: str) -> TokenSource:
    """The process's own source of tokens for ``user``: a mailbox and mail out of the same settings share one."""
    return TokenSource(oauth, user)


def format_xoauth2(user: str, token: str) -> str:
    """What XOAUTH2 says (learn.microsoft.com, "Authenticate an IMAP, POP or SMTP connection using OAuth")."""
    return f"user={user}\1auth=Bearer {token}\1\1"


def format_oauthbearer(user: str, token: str) -> str:
    """What OAUTHBEARER says (RFC 7628 §3.1); ``=`` and ``,`` in the name are written out (RFC 5801 §4)."""
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={name},\1auth=Bearer {token}\1\1"
