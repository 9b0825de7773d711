"""Addresses on their way out: one plain mailbox each, its domain in ASCII."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import idna

from core.errors import CasemillError

# Quoted local parts, comments and address literals are legal (RFC 5321 §4.1.2) and used by nobody a notice goes to;
# every one of them is a way to smuggle something past a check.
_SPECIAL: Final = re.compile(r"[\s<>()\[\]\\,:;\"@]")
_LOCAL_MAX: Final = 64
_DOMAIN_MAX: Final = 255


class AddressError(CasemillError):
    """Not one plain mailbox. The address itself is not in the text."""


@lru_cache(maxsize=4096)
def wire_address(address: str) -> str:
    """``local@domain`` with the domain in its ASCII form (IDNA 2008, UTS 46).

    The local part may hold non-ASCII letters; sending then needs SMTPUTF8 (RFC 6531). Raises :class:`AddressError`.
    """
    local, _, domain = address.rpartition("@")
    if not _is_plain(local) or not _is_plain(domain):
        raise AddressError("an address is not one plain mailbox")
    if len(local.encode("utf-8", "replace")) > _LOCAL_MAX:
        raise AddressError("the part of an address before the @ is longer than 64 octets")
    return f"{local}@{_ascii_domain(domain)}"


def _is_plain(text: str) -> bool:
    return bool(text) and text.isprintable() and not _SPECIAL.search(text)


def _ascii_domain(domain: str) -> str:
    try:
        # Underscores and single labels are no host names but do occur inside; only IDNA needs the conversion.
        ascii_domain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except UnicodeError:
        raise AddressError("the domain of an address is not valid (IDNA)") from None
    if len(ascii_domain) > _DOMAIN_MAX:
        raise AddressError("the domain of an address is longer than 255 octets")
    return ascii_domain
