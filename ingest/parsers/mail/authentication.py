"""Check whether our own mail server authenticated the sender (RFC 8601).

Only the topmost Authentication-Results field that carries the server's name counts. Other fields of that kind may be forged
by the sender (RFC 8601 §5, §7.1) and are ignored. Without a field the sender is not authenticated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from authres import AuthenticationResultsHeader, AuthResError

from ingest.parsers.types import Authentication

#: Microsoft 365 writes its field without a name. A mailbox at Microsoft 365 is configured with this name.
MICROSOFT_365 = "microsoft365"
MAX_VALUE_LENGTH = 4_000
#: Methods that authenticate a domain, the stronger first, and the properties that name it. A HELO name proves nothing.
DOMAIN_PROPERTIES = {"dkim": ("header.d", "header.i"), "spf": ("smtp.mailfrom", "smtp.mail")}
_NAME = re.compile(r"(?:\s|\([^()]*\))*([^\s;()=]+)(=?)")
_NO_RESULT = Authentication(False, "", "The mail server recorded no authentication result for the sender")
_UNREADABLE = Authentication(False, "", "The mail server's authentication result for the sender cannot be read")


def read_authentication(values: Iterable[str], authserv_id: str, sender: str | None) -> Authentication:
    """Return the authentication result for ``sender``. Never raises.

    ``values`` holds the Authentication-Results fields, top to bottom. ``sender`` is the plain address of From, or None.
    """
    if sender is None:
        return Authentication(False, "", "The mail names no single sender that could be authenticated")
    value = next((value for value in values if _is_from_server(value, authserv_id)), None)
    if value is None:
        return _NO_RESULT
    if len(value) > MAX_VALUE_LENGTH:
        return _UNREADABLE
    try:
        named = f"{MICROSOFT_365}; {value}" if authserv_id.lower() == MICROSOFT_365 else value
        results = AuthenticationResultsHeader.parse_value(named).results
    except (AuthResError, RecursionError, ValueError, LookupError, TypeError, AttributeError):
        return _UNREADABLE
    return _evaluate(results, sender.rpartition("@")[2])


def _is_from_server(value: str, authserv_id: str) -> bool:
    """Whether a field begins with the name of the server. A field that begins with a result carries no name."""
    match = _NAME.match(value[:1000])
    if match is None:
        return False
    return bool(match[2]) if authserv_id.lower() == MICROSOFT_365 else not match[2] and match[1].lower() == authserv_id.lower()


def _evaluate(results: Sequence[Any], domain: str) -> Authentication:
    """DMARC decides where it was checked.

    Otherwise a pass of DKIM or SPF in an aligned domain authenticates the sender (RFC 7489 §3.1).
    """
    by_method = [(str(one.method).lower(), str(one.result).lower(), _list_properties(one)) for one in results]
    for method, result, properties in by_method:
        if method != "dmarc" or properties.get("header.from", domain) != domain:
            continue
        if result in ("pass", "fail"):
            return Authentication(result == "pass", "dmarc", f"dmarc={result} for {domain}")
    for wanted, names in DOMAIN_PROPERTIES.items():
        for method, result, properties in by_method:
            domains = [properties[name].rpartition("@")[2].rstrip(".") for name in names if name in properties]
            if method == wanted and result == "pass" and any(_is_aligned(name, domain) for name in domains):
                return Authentication(True, method, f"{method}=pass for {domain}")
    results_text = ", ".join(dict.fromkeys(f"{method}={result}" for method, result, _ in by_method))
    return Authentication(False, "", f"No check authenticated {domain}: {results_text[:200] or 'no check was made'}")


def _list_properties(result: Any) -> dict[str, str]:
    return {f"{one.type}.{one.name}".lower(): str(one.value).strip().lower() for one in result.properties}


def _is_aligned(name: str, domain: str) -> bool:
    """Whether the domains are equal or one contains the other. A name without a dot aligns with nothing."""
    return "." in name and (name == domain or domain.endswith(f".{name}") or name.endswith(f".{domain}"))
