"""How people write values, and what they mean: addresses, names, hours, yes and no. What cannot be meant is refused."""

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
    """A value that cannot be meant; ``field`` names it."""

    def __init__(self, field: str, code: str, text: str, *, hint: str = "") -> None:
        super().__init__(code, text, hint=hint)
        self.field = field


def read_text(field: str, value: str, *, longest: int = 200) -> str:
    """One line of text without control, zero-width and direction characters (security.md, rule 3)."""
    spaced = " ".join(unicodedata.normalize("NFC", value).split())
    text = "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs")).strip()
    if len(text) > longest:
        raise RefusedValueError(field, "long_value", f"longer than {longest} characters", hint="shorten it")
    return text


def read_email(field: str, value: str) -> str:
    """Exactly one plain mailbox, in lower case, its domain in ASCII (IDNA 2008)."""
    local, at, domain = value.strip().lower().rpartition("@")
    if not at or len(local) > 64 or not _LOCAL.match(local):
        raise _odd_address(field, value)
    try:
        return f"{local}@{read_domain(field, domain)}"
    except RefusedValueError:
        raise _odd_address(field, value) from None


def _odd_address(field: str, value: str) -> RefusedValueError:
    return RefusedValueError(
        field, "odd_address", f"{_shown(value)} is not one plain email address", hint="write it like name@practice.example"
    )


def read_domain(field: str, value: str) -> str:
    """A domain name in lower case and ASCII; a leading ``@`` or ``www.`` is what people add and is taken off."""
    domain = value.strip().lower().removeprefix("@").removeprefix("www.").rstrip(".")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            domain = ""
    if not _DOMAIN.match(domain):
        raise RefusedValueError(
            field, "odd_domain", f"{_shown(value)} is not a domain name", hint="write it like practice.example"
        )
    return domain


def read_domains(field: str, value: str | Iterable[str]) -> frozenset[str]:
    """Domains of a company, from a list or from one text with commas, semicolons or spaces between them."""
    parts = _SPLIT.split(value) if isinstance(value, str) else value
    domains = frozenset(read_domain(field, part) for part in parts if part.strip())
    for domain in sorted(domains & PUBLIC_DOMAINS):
        raise RefusedValueError(
            field, "public_domain", f"{domain} is a public mail domain, anybody can have an address there",
            hint="leave it out; add the people themselves as contacts",
        )  # fmt: skip
    return domains


def read_role(field: str, value: str) -> str:
    """``representative``, ``manager`` or ``administrator``; ``rep`` and ``admin`` are understood."""
    folded = value.strip().lower()
    role = {"rep": "representative", "admin": "administrator"}.get(folded, folded)
    if role not in ROLES:
        raise RefusedValueError(field, "unknown_role", f"{_shown(value)} is no role", hint=f"one of {', '.join(ROLES)}")
    return role


def read_capacity(field: str, value: int | str) -> int:
    """How many open tickets somebody takes at most."""
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= MAX_CAPACITY):
        raise RefusedValueError(
            field, "odd_capacity", f"{_shown(text)} is no capacity", hint=f"a whole number from 0 to {MAX_CAPACITY}"
        )
    return int(text)


def read_flag(field: str, value: bool | str) -> bool:
    """Yes or no, in the ways people write it in spreadsheets."""
    if isinstance(value, bool):
        return value
    folded = value.strip().lower()
    if folded not in _YES | _NO:
        raise RefusedValueError(field, "odd_flag", f"{_shown(value)} is neither yes nor no", hint="write yes or no")
    return folded in _YES


def read_zone(field: str, value: str) -> str:
    """A time zone of the IANA database."""
    try:
        return ZoneInfo(value.strip()).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RefusedValueError(
            field, "odd_zone", f"{_shown(value)} is no time zone", hint="write it like America/Chicago"
        ) from None


def read_weekdays(field: str, value: str) -> str:
    """Days as the digits the table keeps (Monday is 0), from ``Mon-Fri``, ``mon, wed`` or ``01234``."""
    text = value.strip().lower()
    if re.fullmatch(r"[0-6]+", text):
        return "".join(sorted(set(text)))
    days: set[int] = set()
    for part in re.split(r"[,;/\s]+", re.sub(r"\s*[-–]\s*", "-", text)):
        first, dash, last = part.partition("-")
        numbers = [_WEEKDAYS.index(day[:3]) if day[:3] in _WEEKDAYS else -1 for day in (first, last if dash else first)]
        if -1 in numbers:
            raise RefusedValueError(
                field, "odd_weekdays", f"{_shown(value)} are no weekdays", hint="write them like Mon-Fri or Mon,Wed"
            )
        days.update((numbers[0] + step) % 7 for step in range((numbers[1] - numbers[0]) % 7 + 1))
    return "".join(map(str, sorted(days)))


def read_hours(field: str, value: str) -> tuple[time, time]:
    """Working hours from ``08:00-17:00`` or ``8am - 5pm``; they end after they begin, on the same day."""
    refusal = RefusedValueError(field, "odd_hours", f"{_shown(value)} are no working hours", hint="write them like 08:00-17:00")
    match = _HOURS.match(value)
    if not match:
        raise refusal
    try:
        starts, ends = (_clock(*match.group(i, i + 1, i + 2)) for i in (1, 4))
    except ValueError:
        raise refusal from None
    if starts >= ends:
        raise refusal
    return starts, ends


def _clock(hour: str, minute: str | None, half: str | None) -> time:
    number = int(hour)
    if half:
        if not 1 <= number <= 12:
            raise ValueError("no hour of a twelve-hour clock")
        number = number % 12 + (12 if half.lower() == "pm" else 0)
    return time(number, int(minute or 0))


def read_preferred_contact(field: str, value: str) -> str:
    """``email`` or ``phone``."""
    method = _CONTACT_METHODS.get(re.sub(r"[^a-z]", "", value.lower()))
    if method is None:
        raise RefusedValueError(field, "unknown_contact_method", f"{_shown(value)} is no way of contact", hint="email or phone")
    return method


def read_skills(field: str, value: str | Iterable[str]) -> str:
    """Skills in lower case with commas between them, each once, in order."""
    parts = re.split(r"[,;|]", value) if isinstance(value, str) else list(value)
    skills = dict.fromkeys(read_text(field, part).lower() for part in parts)
    return ",".join(skill for skill in skills if skill)


def _shown(value: str) -> str:
    """A refused value as an error shows it: quoted, printable, not too long."""
    return repr(value if len(value) <= 60 else value[:57] + "…")
