"""Check whether a row can become a ticket, and read when it was sent. Pure functions on texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

from ingest.parsers.mail.addresses import read_mailbox
from ingest.parsers.types import Refusal

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ZONES = {
    "": 0, "z": 0, "utc": 0, "gmt": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6,
    "pst": -8, "pdt": -7,
}  # fmt: skip
_CLOCK = (
    r"(?:(?:,|\s+at|\s*T)?\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.\d+)?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?)?\s*(?P<zone>z|[a-z]{3}|[+-]\d{2}:?\d{2})?"
)
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_DATE_FORMATS = tuple(
    re.compile(_WEEKDAY + date + _CLOCK, re.IGNORECASE)
    for date in (
        r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})",
        r"(?P<year>\d{4})/(?P<month>\d{1,2})/(?P<day>\d{1,2})",
        r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4}|\d{2})",
        r"(?P<month>\d{1,2})-(?P<day>\d{1,2})-(?P<year>\d{4}|\d{2})",
        r"(?P<name>[a-z]{3,9})\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>\d{4})",
        r"(?P<day>\d{1,2})[\s-](?P<name>[a-z]{3,9})\.?,?[\s-](?P<year>\d{4})",
    )
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T?(\d{2})(\d{2})(\d{2})?)?(Z?)")
_SERIAL = re.compile(r"[3-7]\d{4}(?:\.\d+)?")
_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
_FULL_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "sept", "october",
    "november", "december",
)  # fmt: skip


def find_row_problem(fields: Mapping[str, str]) -> Refusal | None:
    """Return why a row cannot become a ticket, or None when it can. Never raises.

    The codes are ``no_sender``, ``no_text`` and ``unreadable_date``. A sender is a valid email address, a sender name or a
    company. A text is a message or a subject.
    """
    has_address = read_mailbox(fields.get("sender_email", "").strip()) is not None
    if not has_address and not fields.get("sender_name", "").strip() and not fields.get("company", "").strip():
        return Refusal("no_sender", "The row names no sender: no valid email address, no name and no company.")
    if not fields.get("message", "").strip() and not fields.get("subject", "").strip():
        return Refusal("no_text", "The row has neither a message nor a subject.")
    sent_at = fields.get("sent_at", "").strip()
    if sent_at and read_sent_at(sent_at) is None:
        return Refusal("unreadable_date", "The date the message was sent cannot be read; write it as 2026-11-20 09:30.")
    return None


def read_sent_at(text: str) -> datetime | None:
    """Return the time that ``text`` names, in UTC, or None. Never raises.

    Reads ISO 8601, US formats (``11/20/2026 9:30 AM``, ``Nov 20, 2026 09:30 AM``), with or without a time, and the serial day
    number of an unformatted spreadsheet date. A time without a zone is taken as UTC: a workbook does not name the zone of its
    export. In 03/04 the month is 03.
    """
    text = " ".join(text.split())
    if len(text) > 60:
        return None
    try:
        if _SERIAL.fullmatch(text):
            return _EPOCH + timedelta(seconds=round(float(text) * 86_400))
        if compact := _COMPACT.fullmatch(text):
            numbers = [int(part or 0) for part in compact.groups()[:6]]
            return _require_plausible(datetime(*numbers, tzinfo=UTC))  # type: ignore[misc, arg-type]
        for date_format in _DATE_FORMATS:
            if match := date_format.fullmatch(text):
                return _build_moment(match.groupdict())
    except (ValueError, OverflowError):
        return None
    return None


def _build_moment(parts: Mapping[str, str | None]) -> datetime | None:
    """Return the time in UTC. Raises ValueError or OverflowError for a date that does not exist."""
    zone = _read_zone(parts["zone"] or "")
    hour = _read_hour(int(parts["hour"] or 0), (parts["half"] or "").replace(".", "").lower())
    month = _read_month(parts["name"] or "") if parts.get("name") else int(parts["month"] or 0)
    year = parts["year"] or ""
    if zone is None:
        return None
    moment = datetime(
        int(year if len(year) == 4 else f"20{year}"),
        month,
        int(parts["day"] or 0),
        hour,
        int(parts["minute"] or 0),
        int(parts["second"] or 0),
        tzinfo=zone,
    )
    return _require_plausible(moment.astimezone(UTC))


def _require_plausible(moment: datetime) -> datetime | None:
    """Return None for a year in which no message can have been sent: it is a typing error."""
    return moment if 1990 <= moment.year <= 2200 else None


def _read_hour(hour: int, half: str) -> int:
    """Return the hour of the day. Raises ValueError for 13 PM."""
    if not half:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError("hour")
    return hour % 12 + (12 if half == "pm" else 0)


def _read_month(name: str) -> int:
    """Return 1 to 12 for an English month name or its abbreviation. Raises ValueError for any other word."""
    lowered = name.lower()
    if lowered not in _MONTHS and lowered not in _FULL_MONTHS:
        raise ValueError("month")
    return _MONTHS.index(lowered[:3]) + 1


def _read_zone(text: str) -> timezone | None:
    """Return None for an unknown abbreviation: a guessed zone would move the message by hours without notice."""
    lowered = text.lower()
    if lowered in _ZONES:
        return timezone(timedelta(hours=_ZONES[lowered]))
    if lowered[:1] in ("+", "-"):
        digits = lowered[1:].replace(":", "")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(offset if lowered[0] == "+" else -offset)
    return None
