"""Addresses as SMTP and message headers take them: one plain mailbox with its domain in ASCII."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import idna

from core.errors import CasemillError

# Quoted local parts, comments and address literals are legal (RFC 5321 §4.1.2), but no customer uses them, and each of them
# is a way to smuggle something past a check.
_SPECIAL: Final = re.compile(r"[\s<>()\[\]\\,:;\"@]")
_MAX_LOCAL_OCTETS: Final = 64
_MAX_DOMAIN_OCTETS: Final = 255


class AddressError(CasemillError):
    """The address is not one plain mailbox. The text never holds the address."""


@lru_cache(maxsize=4096)
def wire_address(address: str) -> str:
    """Return ``local@domain`` with the domain in its ASCII form (IDNA 2008, UTS 46).

    The local part may hold non-ASCII letters; sending then needs SMTPUTF8 (RFC 6531).

    Raises :class:`AddressError` when the address is not one plain mailbox or is too long.
    """
    local, _, domain = address.rpartition("@")
    if not _is_plain(local) or not _is_plain(domain):
        raise AddressError("the address is not one plain mailbox")
    if len(local.encode("utf-8", "replace")) > _MAX_LOCAL_OCTETS:
        raise AddressError("the part of the address before the @ is longer than 64 octets")
    return f"{local}@{_ascii_domain(domain)}"


def _is_plain(text: str) -> bool:
    return bool(text) and text.isprintable() and not _SPECIAL.search(text)


def _ascii_domain(domain: str) -> str:
    try:
        # ASCII domains stay as they are: internal networks use underscores and single labels, which IDNA refuses.
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except UnicodeError:
        raise AddressError("the domain of the address is not valid (IDNA)") from None
    if len(ascii_domain) > _MAX_DOMAIN_OCTETS:
        raise AddressError("the domain of the address is longer than 255 octets")
    return ascii_domain
