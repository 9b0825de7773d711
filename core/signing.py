"""Signed names that come back to us: Message-IDs, bounce addresses and reply addresses.

Each carries a readable token (such as ``t123.d456``: ticket and delivery) and a MAC over it, so that a mail which
quotes one can be matched to its ticket and a stranger cannot make one up. A MAC holds for one purpose and one
domain only: a reply address cannot be turned into a Message-ID, nor one installation's name into another's.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from core.settings import Settings

# Some relays lower-case local parts, so everything signed is lower case already (RFC 5321 §2.4 says they must
# not; they do). A local part may have 64 octets (RFC 5321 §4.5.3.1.1), so a long mailbox name leaves less for the token.
_TOKEN: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_TOKEN_MAX: Final = 28
_MAC_BYTES: Final = 16
_MAC_CHARS: Final = 26
_KEY_MIN_BYTES: Final = 16
_SIGNED: Final = re.compile(rf"([a-z0-9.-]{{1,{_TOKEN_MAX}}})\.([a-z2-7]{{{_MAC_CHARS}}})")
_LONGEST: Final = 400
_MAILBOX_MAX: Final = 24
_LOCAL_MAX: Final = 64


class Signer:
    """Signs with the first key and accepts every key, so that keys can be rotated."""

    __slots__ = ("_bounce", "_domain", "_keys", "_reply")

    def __init__(self, keys: Sequence[bytes], domain: str, *, bounce: str = "bounce", reply: str = "support") -> None:
        """``bounce`` and ``reply`` name the mailboxes that take ``+`` addresses. Raises ValueError on weak keys."""
        if not keys or any(len(key) < _KEY_MIN_BYTES for key in keys):
            raise ValueError(f"signing needs at least one key, and keys of at least {_KEY_MIN_BYTES} bytes")
        if not 0 < len(bounce) <= _MAILBOX_MAX or not 0 < len(reply) <= _MAILBOX_MAX:
            raise ValueError(f"a mailbox for signed addresses has 1 to {_MAILBOX_MAX} characters")
        self._keys = tuple(keys)
        self._domain = domain.lower()
        self._bounce = bounce.lower()
        self._reply = reply.lower()

    def message_id(self, token: str) -> str:
        """The Message-ID (RFC 5322 §3.6.4) for ``token``, the same one each time. Raises ValueError on a bad token."""
        return f"<{self._signed('message-id', token)}@{self._domain}>"

    def verify_message_id(self, value: str) -> str | None:
        """The token of our own Message-ID, else None. Brackets, case and space around it do not matter; never raises."""
        plain = _tidy(value).removeprefix("<").removesuffix(">")
        local, _, domain = plain.rpartition("@")
        return self._verified("message-id", local) if domain == self._domain else None

    def envelope_sender(self, token: str) -> str:
        """The envelope sender that a bounce of this delivery comes back to (VERP). Raises ValueError on a bad token."""
        return self._address(self._bounce, self._signed("envelope", token))

    def verify_envelope_sender(self, value: str) -> str | None:
        """The token in one of our own bounce addresses, else None; never raises."""
        return self._verified_address("envelope", self._bounce, value)

    def reply_address(self, token: str) -> str:
        """The address whose mail belongs to the ticket in ``token``. Raises ValueError on a bad token."""
        return self._address(self._reply, self._signed("reply", token))

    def verify_reply_address(self, value: str) -> str | None:
        """The token in one of our own reply addresses, else None; never raises."""
        return self._verified_address("reply", self._reply, value)

    def link(self, token: str) -> str:
        """A path segment that only we can make, for an address that opens without sign-in. ValueError on a bad token."""
        return self._signed("link", token)

    def verify_link(self, value: str) -> str | None:
        """The token in one of our own path segments, else None; never raises."""
        return self._verified("link", _tidy(value))

    def _address(self, mailbox: str, signed: str) -> str:
        if len(mailbox) + 1 + len(signed) > _LOCAL_MAX:
            raise ValueError("a signed token is too long for the name of its mailbox")
        return f"{mailbox}+{signed}@{self._domain}"

    def _verified_address(self, purpose: str, mailbox: str, value: str) -> str | None:
        local, _, domain = _tidy(value).removeprefix("<").removesuffix(">").rpartition("@")
        name, plus, signed = local.partition("+")
        if domain != self._domain or name != mailbox or not plus:
            return None
        return self._verified(purpose, signed)

    def _signed(self, purpose: str, token: str) -> str:
        if len(token) > _TOKEN_MAX or not _TOKEN.fullmatch(token):
            raise ValueError(f"a signed token has at most {_TOKEN_MAX} characters of a-z, 0-9, dot and hyphen")
        return f"{token}.{self._mac(self._keys[0], purpose, token)}"

    def _verified(self, purpose: str, signed: str) -> str | None:
        match = _SIGNED.fullmatch(signed)
        if match is None or not _TOKEN.fullmatch(match[1]):
            return None
        # No early exit: the time taken tells neither how much of a MAC was right nor which key made it.
        right = [hmac.compare_digest(self._mac(key, purpose, match[1]), match[2]) for key in self._keys]
        return match[1] if any(right) else None

    def _mac(self, key: bytes, purpose: str, token: str) -> str:
        text = f"casemill signed name 1\0{purpose}\0{self._domain}\0{token}"
        digest = hmac.digest(key, text.encode(), "sha256")[:_MAC_BYTES]
        return b32encode(digest).decode().rstrip("=").lower()


def signer_for(settings: Settings, keys: Sequence[bytes] | None = None) -> Signer:
    """The signer of the settings in force, by ``keys`` in place of theirs when given."""
    notices = settings.notices
    reply = notices.reply_mailbox if notices.plus_addressing else "support"
    return Signer(keys or settings.signing_keys(), notices.domain, bounce=notices.bounce_mailbox, reply=reply)


def _tidy(value: str) -> str:
    """Lower case without surrounding space; empty for what cannot be one of ours.

    Non-ASCII goes first: the Kelvin sign, for one, becomes a plain k in lower case.
    """
    if len(value) > _LONGEST or not value.isascii():
        return ""
    return value.strip().lower()
