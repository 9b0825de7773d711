"""Read field values as people write them: addresses, names, hours, yes and no. Unreadable values are refused with a hint."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import idna

from accounts.public_domains import PUBLIC_DOMAINS
from core.errors import RefusedError

ROLES = ("representative", "manager", "administrator")
MAX_CAPACITY = 10_000

_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+\Z")
_HOURS = re.compile(r"\s*(\d{1,2})(?::(\d{2}))?\s*(am|pm)?\s*(?:-|–|to)\s*(\d{1,2})(?::(\d{2}))?\s*(am|pm)?\s*\Z", re.I)
_SPLIT = re.compile(r"[,;|\s]+")

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_YES = frozenset(["yes", "y", "true", "t", "1", "x", "on", "active"])
_NO = frozenset(["no", "n", "false", "f", "0", "off", "inactive"])
_CONTACT_METHODS = {
    "email": "email", "mail": "email", "phone": "phone", "telephone": "phone", "call": "phone", "phonecall": "phone",
    "mobile": "phone", "cell": "phone",
}  # fmt: skip


class RefusedValueError(RefusedError):
    """A value that cannot be read; ``field`` is its name."""

    def __init__(self, field: str, code: str, text: str, *, hint: str = "") -> None:
        super().__init__(code, text, hint=hint)
        self.field = field


def read_text(field: str, value: str, *, longest: int = 200) -> str:
    """Return one line of text without control, zero-width and direction characters (security.md, rule 3)."""
    spaced = " ".join(unicodedata.normalize("NFC", value).split())
    text = "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs")).strip()
    if len(text) > longest:
        raise RefusedValueError(field, "long_value", f"longer than {longest} characters", hint="shorten it")
    return text


def read_email(field: str, value: str) -> str:
    """Return exactly one plain mailbox, in lower case, its domain in ASCII (IDNA 2008)."""
    local, at, domain = value.strip().lower().rpartition("@")
    if not at or len(local) > 64 or not _LOCAL.match(local):
        raise _invalid_address(field, value)
    try:
        return f"{local}@{read_domain(field, domain)}"
    except RefusedValueError:
        raise _invalid_address(field, value) from None


def _invalid_address(field: str, value: str) -> RefusedValueError:
    return RefusedValueError(
        field, "odd_address", f"{_quote(value)} is not one plain email address", hint="write it like name@practice.example"
    )


def read_domain(field: str, value: str) -> str:
    """Return a domain name in lower case and ASCII; a leading ``@`` or ``www.``, which people add, is removed."""
    domain = value.strip().lower().removeprefix("@").removeprefix("www.").rstrip(".")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            domain = ""
    if not _DOMAIN.match(domain):
        raise RefusedValueError(
            field, "odd_domain", f"{_quote(value)} is not a domain name", hint="write it like practice.example"
        )
    return domain


def read_domains(field: str, value: str | Iterable[str]) -> frozenset[str]:
    """Return the domains of a company, from a list or from a text with commas, semicolons or spaces between them."""
    parts = _SPLIT.split(value) if isinstance(value, str) else value
    domains = frozenset(read_domain(field, part) for part in parts if part.strip())
    for domain in sorted(domains & PUBLIC_DOMAINS):
        raise RefusedValueError(
            field, "public_domain", f"{domain} is a public mail domain, where any person can have an address",
            hint="leave it out; add the people themselves as contacts",
        )  # fmt: skip
    return domains


def read_role(field: str, value: str) -> str:
    """Return ``representative``, ``manager`` or ``administrator``; ``rep`` and ``admin`` are accepted."""
    folded = value.strip().lower()
    role = {"rep": "representative", "admin": "administrator"}.get(folded, folded)
    if role not in ROLES:
        raise RefusedValueError(field, "unknown_role", f"{_quote(value)} is not a role", hint=f"choose one of {', '.join(ROLES)}")
    return role


def read_capacity(field: str, value: int | str) -> int:
    """Return how many open tickets a person takes at most."""
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= MAX_CAPACITY):
        raise RefusedValueError(
            field, "odd_capacity", f"{_quote(text)} is not a capacity", hint=f"give a whole number from 0 to {MAX_CAPACITY}"
        )
    return int(text)


def read_flag(field: str, value: bool | str) -> bool:
    """Return yes or no, in the forms that people write in spreadsheets."""
    if isinstance(value, bool):
        return value
    folded = value.strip().lower()
    if folded not in _YES | _NO:
        raise RefusedValueError(field, "odd_flag", f"{_quote(value)} is neither yes nor no", hint="write yes or no")
    return folded in _YES


def read_zone(field: str, value: str) -> str:
    """Return the name of a time zone of the IANA database."""
    try:
        return ZoneInfo(value.strip()).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RefusedValueError(
            field, "odd_zone", f"{_quote(value)} is not a time zone", hint="write it like America/Chicago"
        ) from None


def read_weekdays(field: str, value: str) -> str:
    """Return days as stored, as digits (Monday is 0), from ``Mon-Fri``, ``mon, wed`` or ``01234``."""
    text = value.strip().lower()
    if re.fullmatch(r"[0-6]+", text):
        return "".join(sorted(set(text)))
    days: set[int] = set()
    for part in re.split(r"[,;/\s]+", re.sub(r"\s*[-–]\s*", "-", text)):
        first, dash, last = part.partition("-")
        numbers = [_WEEKDAYS.index(day[:3]) if day[:3] in _WEEKDAYS else -1 for day in (first, last if dash else first)]
        if -1 in numbers:
            raise RefusedValueError(
                field, "odd_weekdays", f"{_quote(value)} are not weekdays", hint="write them like Mon-Fri or Mon,Wed"
            )
        days.update((numbers[0] + step) % 7 for step in range((numbers[1] - numbers[0]) % 7 + 1))
    return "".join(map(str, sorted(days)))


def read_hours(field: str, value: str) -> tuple[time, time]:
    """Return start and end of working hours from ``08:00-17:00`` or ``8am - 5pm``; the end is later on the same day."""
    refusal = RefusedValueError(field, "odd_hours", f"{_quote(value)} are not working hours", hint="write them like 08:00-17:00")
    match = _HOURS.match(value)
    if not match:
        raise refusal
    try:
        starts, ends = (_read_time(*match.group(i, i + 1, i + 2)) for i in (1, 4))
    except ValueError:
        raise refusal from None
    if starts >= ends:
        raise refusal
    return starts, ends


def _read_time(hour: str, minute: str | None, half: str | None) -> time:
    number = int(hour)
    if half:
        if not 1 <= number <= 12:
            raise ValueError("not an hour of a twelve-hour clock")
        number = number % 12 + (12 if half.lower() == "pm" else 0)
    return time(number, int(minute or 0))


def read_preferred_contact(field: str, value: str) -> str:
    """Return ``email`` or ``phone``, from the usual words for them."""
    method = _CONTACT_METHODS.get(re.sub(r"[^a-z]", "", value.lower()))
    if method is None:
        raise RefusedValueError(
            field, "unknown_contact_method", f"{_quote(value)} is not a contact method", hint="choose email or phone"
        )
    return method


def read_skills(field: str, value: str | Iterable[str]) -> str:
    """Return skills in lower case with commas between them, each once, in the order given."""
    parts = re.split(r"[,;|]", value) if isinstance(value, str) else list(value)
    skills = dict.fromkeys(read_text(field, part).lower() for part in parts)
    return ",".join(skill for skill in skills if skill)


def _quote(value: str) -> str:
    """A refused value as an error shows it: quoted, printable, cut to length."""
    return repr(value if len(value) <= 60 else value[:57] + "…")
