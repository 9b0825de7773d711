"""Does our own mail server vouch for the sender? By the topmost Authentication-Results that carries its name (RFC 8601).

Other headers of that kind may be the sender's own invention (RFC 8601 §5, §7.1) and count for nothing; none at all means
that nobody vouches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from authres import AuthenticationResultsHeader, AuthResError

from ingest.parsers.types import Authentication

#: Microsoft 365 writes its header without a name; a mailbox there is configured with this one.
MICROSOFT_365 = "microsoft365"
MAX_VALUE_LENGTH = 4_000
#: Methods that vouch for a domain, the stronger first, and the properties that name it. A HELO name is anybody's.
DOMAIN_PROPERTIES = {"dkim": ("header.d", "header.i"), "spf": ("smtp.mailfrom", "smtp.mail")}
_NAME = re.compile(r"(?:\s|\([^()]*\))*([^\s;()=]+)(=?)")
_NO_RESULT = Authentication(False, "", "The mail server left no word on the sender")
_UNREADABLE = Authentication(False, "", "What the mail server says of the sender cannot be read")


def read_authentication(values: Iterable[str], authserv_id: str, sender: str | None) -> Authentication:
    """The verdict on ``sender``. ``values`` are the Authentication-Results, top to bottom; never raises."""
    if sender is None:
        return Authentication(False, "", "The mail names no single sender who could be vouched for")
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
    """Whether a header begins with the name; one that begins with a result has none."""
    match = _NAME.match(value[:1000])
    if match is None:
        return False
    return bool(match[2]) if authserv_id.lower() == MICROSOFT_365 else not match[2] and match[1].lower() == authserv_id.lower()


def _evaluate(results: Sequence[Any], domain: str) -> Authentication:
    """DMARC decides where it was checked; else a pass of DKIM or SPF in a domain that is aligned (RFC 7489 §3.1)."""
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
    return Authentication(False, "", f"Nothing vouches for {domain}: {results_text[:200] or 'no check was made'}")


def _list_properties(result: Any) -> dict[str, str]:
    return {f"{one.type}.{one.name}".lower(): str(one.value).strip().lower() for one in result.properties}


def _is_aligned(name: str, domain: str) -> bool:
    """The same domain, or one inside the other; a name without a dot is nobody's."""
    return "." in name and (name == domain or domain.endswith(f".{name}") or name.endswith(f".{domain}"))
