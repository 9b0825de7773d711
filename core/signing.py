"""Signed names that come back to us: Message-IDs, bounce addresses, reply addresses and link paths.

Each carries a readable token (such as ``t123.d456``: ticket and delivery) and a MAC over it. A mail that quotes one is
matched to its ticket, and a stranger cannot forge one. A MAC is valid for one purpose and one domain only: a reply address
cannot be turned into a Message-ID, nor a name of one installation into a name of another.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from core.settings import Settings

# Everything signed is lower case, because some relays lower-case local parts (RFC 5321 §2.4 forbids it). A local part may
# have 64 octets (RFC 5321 §4.5.3.1.1), so a long mailbox name leaves less for the token.
_TOKEN: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_MAX_TOKEN_CHARS: Final = 28
_MAC_BYTES: Final = 16
_MAC_CHARS: Final = 26
_MIN_KEY_BYTES: Final = 16
_SIGNED: Final = re.compile(rf"([a-z0-9.-]{{1,{_MAX_TOKEN_CHARS}}})\.([a-z2-7]{{{_MAC_CHARS}}})")
_MAX_VALUE_CHARS: Final = 400
_MAX_MAILBOX_CHARS: Final = 24
_MAX_LOCAL_PART_CHARS: Final = 64


class Signer:
    """Signs with the first key and accepts signatures by every key, so that keys can be rotated."""

    __slots__ = ("_bounce", "_domain", "_keys", "_reply")

    def __init__(self, keys: Sequence[bytes], domain: str, *, bounce: str = "bounce", reply: str = "support") -> None:
        """``bounce`` and ``reply`` are the local parts that take ``+`` addresses. Raises ValueError for a short key."""
        if not keys or any(len(key) < _MIN_KEY_BYTES for key in keys):
            raise ValueError(f"signing needs at least one key, and keys of at least {_MIN_KEY_BYTES} bytes")
        if not 0 < len(bounce) <= _MAX_MAILBOX_CHARS or not 0 < len(reply) <= _MAX_MAILBOX_CHARS:
            raise ValueError(f"a mailbox for signed addresses has 1 to {_MAX_MAILBOX_CHARS} characters")
        self._keys = tuple(keys)
        self._domain = domain.lower()
        self._bounce = bounce.lower()
        self._reply = reply.lower()

    def message_id(self, token: str) -> str:
        """Return the Message-ID (RFC 5322 §3.6.4) for ``token``, always the same one. Raises ValueError for a bad token."""
        return f"<{self._sign('message-id', token)}@{self._domain}>"

    def verify_message_id(self, value: str) -> str | None:
        """Return the token of a Message-ID of ours, else None. Ignores brackets, case and surrounding space; never raises."""
        plain = _normalise(value).removeprefix("<").removesuffix(">")
        local, _, domain = plain.rpartition("@")
        return self._verify("message-id", local) if domain == self._domain else None

    def envelope_sender(self, token: str) -> str:
        """Return the envelope sender that bounces of this delivery go to (VERP). Raises ValueError for a bad token."""
        return self._address(self._bounce, self._sign("envelope", token))

    def verify_envelope_sender(self, value: str) -> str | None:
        """Return the token in a bounce address of ours, else None; never raises."""
        return self._verify_address("envelope", self._bounce, value)

    def reply_address(self, token: str) -> str:
        """Return the address whose mail belongs to the ticket in ``token``. Raises ValueError for a bad token."""
        return self._address(self._reply, self._sign("reply", token))

    def verify_reply_address(self, value: str) -> str | None:
        """Return the token in a reply address of ours, else None; never raises."""
        return self._verify_address("reply", self._reply, value)

    def link(self, token: str) -> str:
        """Return a path segment for a link that opens a page without sign-in. Raises ValueError for a bad token."""
        return self._sign("link", token)

    def verify_link(self, value: str) -> str | None:
        """Return the token in a path segment of ours, else None; never raises."""
        return self._verify("link", _normalise(value))

    def _address(self, mailbox: str, signed: str) -> str:
        if len(mailbox) + 1 + len(signed) > _MAX_LOCAL_PART_CHARS:
            raise ValueError("a signed token is too long for the name of its mailbox")
        return f"{mailbox}+{signed}@{self._domain}"

    def _verify_address(self, purpose: str, mailbox: str, value: str) -> str | None:
        local, _, domain = _normalise(value).removeprefix("<").removesuffix(">").rpartition("@")
        name, plus, signed = local.partition("+")
        if domain != self._domain or name != mailbox or not plus:
            return None
        return self._verify(purpose, signed)

    def _sign(self, purpose: str, token: str) -> str:
        if len(token) > _MAX_TOKEN_CHARS or not _TOKEN.fullmatch(token):
            raise ValueError(f"a signed token has at most {_MAX_TOKEN_CHARS} characters of a-z, 0-9, dot and hyphen")
        return f"{token}.{self._mac(self._keys[0], purpose, token)}"

    def _verify(self, purpose: str, signed: str) -> str | None:
        match = _SIGNED.fullmatch(signed)
        if match is None or not _TOKEN.fullmatch(match[1]):
            return None
        # No early exit: the time taken reveals neither how much of a MAC was right nor which key made it.
        matches = [hmac.compare_digest(self._mac(key, purpose, match[1]), match[2]) for key in self._keys]
        return match[1] if any(matches) else None

    def _mac(self, key: bytes, purpose: str, token: str) -> str:
        text = f"casemill signed name 1\0{purpose}\0{self._domain}\0{token}"
        digest = hmac.digest(key, text.encode(), "sha256")[:_MAC_BYTES]
        return b32encode(digest).decode().rstrip("=").lower()


def signer_for(settings: Settings, keys: Sequence[bytes] | None = None) -> Signer:
    """Return the signer for ``settings``, with ``keys`` in place of their signing keys when given."""
    notices = settings.notices
    reply = notices.reply_mailbox if notices.plus_addressing else "support"
    return Signer(keys or settings.signing_keys(), notices.domain, bounce=notices.bounce_mailbox, reply=reply)


def _normalise(value: str) -> str:
    """Return ``value`` in lower case without surrounding space, empty when it cannot be a name of ours."""
    # Non-ASCII is refused before lower-casing: the Kelvin sign, for one, becomes a plain k.
    if len(value) > _MAX_VALUE_CHARS or not value.isascii():
        return ""
    return value.strip().lower()
