"""What an OAuth provider answers: a grant, a temporary error or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Grant:
    """An access token that is valid for ``seconds``, and the refresh token that replaces the one that was used, if any."""

    token: str = field(repr=False)
    seconds: float
    refresh_token: str | None = field(default=None, repr=False)


class TokenError(RefusedError):
    """No token was granted. ``text`` holds the provider's error code, never its sentences, which name accounts."""


class TokenUnavailableError(TokenError):
    """A later attempt may succeed: time-out, no connection, too many requests, trouble at the provider."""

    def __init__(self, why: str) -> None:
        super().__init__("token_unavailable", f"the provider granted no token just now ({why})")


class TokenRefusedError(TokenError):
    """Retrying does not help until the configuration is corrected: wrong secret, no consent, an expired refresh token."""

    def __init__(self, why: str) -> None:
        hint = "correct client_id, client_secret, tenant or refresh_token, and check that the application may use the mailbox"
        super().__init__("token_refusal", f"the provider refused a token ({why})", hint=hint)
