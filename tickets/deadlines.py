"""When reminders and escalations are due. Pure: the calendar and the moment come in, a moment goes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from core.sections import Calendar


def due_after(opened_at: datetime, days: int, calendar: Calendar) -> datetime:
    """``days`` after ``opened_at``: elapsed 24-hour days, or business days of the calendar at the same local time.

    Business days skip weekends and holidays in the calendar's zone; a local time that a change of the clock leaves out is
    moved on by the clock change (PEP 495).
    """
    if calendar.days == "calendar":
        return opened_at + timedelta(days=days)
    zone = ZoneInfo(calendar.zone)
    local = opened_at.astimezone(zone)
    left = days
    while left > 0:
        local = (local.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
        if local.weekday() in calendar.weekdays and local.date() not in calendar.holidays:
            left -= 1
    return local.astimezone(UTC)
