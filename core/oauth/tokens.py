"""Access tokens for signing in to mail: cached in memory, renewed before they expire, replaced when a server rejects them.

All connections of a process share one cached token for each account. Nothing is stored: after a restart a new token is requested.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from core import clock
from core.oauth.grants import TokenRefusedError, TokenUnavailableError
from core.oauth.providers import request_token
from core.settings.sections import OAuth

#: A token is renewed this long before it expires, or at half its life when that is later.
RENEW_BEFORE_EXPIRY = timedelta(minutes=5)
#: A refused request is not repeated sooner: providers lock accounts that keep asking.
REFUSAL_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _CachedToken:
    token: str = field(repr=False)
    renew_at: datetime
    expires_at: datetime


class TokenSource:
    """The tokens of one account. Threads share it; only one at a time sends a request to the provider."""

    def __init__(self, oauth: OAuth, user: str) -> None:
        self._oauth = oauth
        self._user = user
        self._refresh_token = oauth.refresh_token.get_secret_value() if oauth.refresh_token else None
        self._cached: _CachedToken | None = None
        self._refusal: tuple[datetime, TokenRefusedError] | None = None
        self._guard = threading.Lock()

    def get_token(self) -> str:
        """Return a valid token, from the cache or from the provider.

        Raises :class:`TokenUnavailableError` when no valid token is cached and the provider grants none now, and
        :class:`TokenRefusedError`, which is raised again without a request during :data:`REFUSAL_PAUSE`.
        """
        with self._guard:
            now = clock.now()
            if self._cached is not None and now < self._cached.renew_at:
                return self._cached.token
            if self._refusal is not None and now < self._refusal[0]:
                raise self._refusal[1]
            return self._renew(now)

    def replace_rejected_token(self, token: str) -> str:
        """Return another token than ``token``, which a mail server rejected. Raises as :meth:`get_token` does."""
        with self._guard:
            if self._cached is not None and self._cached.token == token:
                self._cached = None
        return self.get_token()

    def _renew(self, now: datetime) -> str:
        try:
            grant = request_token(self._oauth, self._user, self._refresh_token)
        except TokenUnavailableError:
            if self._cached is not None and now < self._cached.expires_at:
                return self._cached.token
            raise
        except TokenRefusedError as refusal:
            self._refusal = (now + REFUSAL_PAUSE, refusal)
            raise
        self._refusal = None
        self._refresh_token = grant.refresh_token or self._refresh_token
        life = timedelta(seconds=grant.seconds)
        self._cached = _CachedToken(grant.token, now + life - min(RENEW_BEFORE_EXPIRY, life / 2), now + life)
        return grant.token


@lru_cache(maxsize=256)
def token_source(oauth: OAuth, user: str) -> TokenSource:
    """Return this process's token source for ``user``: a mailbox and outgoing mail with the same settings share one."""
    return TokenSource(oauth, user)


def format_xoauth2(user: str, token: str) -> str:
    """Return the XOAUTH2 response (learn.microsoft.com, "Authenticate an IMAP, POP or SMTP connection using OAuth")."""
    return f"user={user}\1auth=Bearer {token}\1\1"


def format_oauthbearer(user: str, token: str) -> str:
    """Return the OAUTHBEARER response (RFC 7628 §3.1); ``=`` and ``,`` in the user name are escaped (RFC 5801 §4)."""
    name = user.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={name},\1auth=Bearer {token}\1\1"
